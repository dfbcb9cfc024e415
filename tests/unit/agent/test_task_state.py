"""What tasks keep on a device, against plain dictionaries and lists, over restarts and removals."""

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from shoal_task.run_state import Changes

from device_agent.agent.settings import AgentSettings
from device_agent.agent.store import task_state
from device_agent.agent.store.store import Store

TASKS = ("one", "two")
KEYS = ("", "a", "A", "ä", "a'b", "k\x00")
TABLES = ("log", "Log", "t t")
SMALL = 5
keys, tables, tasks = st.sampled_from(KEYS), st.sampled_from(TABLES), st.sampled_from(TASKS)
changed = st.builds(
    Changes,
    values=st.dictionaries(keys, st.none() | st.binary(max_size=9), max_size=3),
    rows=st.dictionaries(tables, st.lists(st.text(max_size=5), min_size=1, max_size=7), max_size=2),
    cleared=st.sets(tables, max_size=2),
)


class StateWalk(RuleBasedStateMachine):
    """Two tasks that share a database and must not notice each other."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.values: dict[str, dict[str, bytes]] = {task: {} for task in TASKS}
        self.rows: dict[str, dict[str, list[str]]] = {task: {} for task in TASKS}
        self.store = self.reopen()

    def reopen(self) -> Store:
        path = Path(self.folder.name) / "agent.db"
        return Store(path, random=Random(1), settings=AgentSettings())

    @rule(task=tasks, changes=changed)
    def apply(self, task: str, changes: Changes) -> None:
        with self.store.transaction():
            self.store.state(task).apply(changes)
        for key, value in changes.values.items():
            if value is None:
                self.values[task].pop(key, None)
            else:
                self.values[task][key] = value
        for table in changes.cleared:
            self.rows[task].pop(table, None)
        for table, rows in changes.rows.items():
            kept = [*self.rows[task].get(table, []), *rows]
            self.rows[task][table] = kept[-SMALL:]

    @rule(task=tasks, changes=changed)
    def apply_and_fail(self, task: str, changes: Changes) -> None:
        """Changes belong to the transaction that consumes the event: when it is undone, so are they."""
        with pytest.raises(KeyboardInterrupt):
            self.half_a_transaction(task, changes)

    def half_a_transaction(self, task: str, changes: Changes) -> None:
        with self.store.transaction():
            self.store.state(task).apply(changes)
            raise KeyboardInterrupt

    @rule(task=tasks)
    def remove(self, task: str) -> None:
        with self.store.transaction():
            self.store.held.delete_task(task)
        self.values[task], self.rows[task] = {}, {}

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.reopen()

    @invariant()
    def everything_is_as_the_tasks_left_it(self) -> None:
        if not hasattr(self, "store"):
            return
        for task in TASKS:
            state = self.store.state(task)
            values = self.values[task]
            assert {key: state.value(key) for key in KEYS} == {key: values.get(key) for key in KEYS}
            assert state.sizes() == {key: len(value) for key, value in values.items()}
            assert {name: state.rows(name) for name in state.tables()} == self.rows[task]

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


@pytest.fixture(autouse=True)
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is the guest API's; a small one is reached in a short walk."""
    monkeypatch.setattr(task_state, "ROWS_MAX", SMALL)


StateWalk.TestCase.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=25, deadline=None
)
TestStateWalk = pytest.mark.slow(StateWalk.TestCase)
