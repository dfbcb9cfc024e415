"""The store: a model-based walk through feeding, running, dying and acknowledging, and what opening refuses."""

import sqlite3
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device_agent.agent.errors import PeerRefused, StoreUnknown
from device_agent.agent.messages import run_report
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.outbox import Ack, Outcome
from device_agent.agent.store.store import Store
from tests.helpers.devices import event

SMALL = AgentSettings(events_open_max=6, reports_max=8, reports_per_message_max=3, deaths_max=2)
TASKS = ("one", "two")


class StoreWalk(RuleBasedStateMachine):
    """Compares the store with plain sets, over restarts that may come at any moment."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = self.reopen()
        self.waiting: dict[str, list[int]] = {task: [] for task in TASKS}
        self.seen: set[int] = set()
        with self.store.transaction():
            for task in TASKS:
                self.store.held.put_task(TaskRow(task=task, version=1, digest="d"))

    def reopen(self) -> Store:
        path = Path(self.folder.name) / "agent.db"
        return Store(path, random=Random(1), settings=SMALL)

    @rule(number=st.integers(1, 30), tasks=st.sets(st.sampled_from(TASKS)))
    def feed(self, number: int, tasks: set[str]) -> None:
        open_events = {number for numbers in self.waiting.values() for number in numbers}
        with self.store.transaction():
            answer = self.store.log.append(event(number), tasks)
        if number in self.seen:
            assert answer.status == "duplicate"
        elif tasks and len(open_events) >= SMALL.events_open_max:
            assert answer.code == "EVENT_LOG_FULL"
        else:
            assert answer.status == "accepted"
            self.seen.add(number)
            for task in tasks:
                self.waiting[task].append(number)

    @rule(task=st.sampled_from(TASKS), dies=st.booleans())
    def run_oldest(self, task: str, dies: bool) -> None:
        work = self.store.log.waiting(task, 1)
        assert [one.event.uid for one in work] == [
            event(number).uid for number in self.waiting[task][:1]
        ]
        if not work or not self.store.outbox.has_room():
            return
        with self.store.transaction(durable=False):
            self.store.log.mark_running(work[0])
        if dies:
            self.die()
            return
        number = self.waiting[task].pop(0)
        with self.store.transaction():
            assert self.store.log.consume(task, work[0].sequence)
            report = run_report(task, 1, event(number).uid, "ok", 1, "", 1)
            self.store.outbox.append_report(report)
            row = self.store.held.tasks()[task]
            self.store.held.put_task(
                TaskRow(task=task, version=1, digest="d", quarantined=row.quarantined)
            )
        with self.store.transaction():
            assert not self.store.log.consume(task, work[0].sequence)

    @rule()
    def die(self) -> None:
        """A restart; whatever was running is blamed."""
        before = {task: row.deaths for task, row in self.store.held.tasks().items()}
        running = {
            task for (task,) in self.store.log._connection.execute("SELECT task FROM running")
        }
        self.store.close()
        self.store = self.reopen()
        self.store.recover(now_ms=1)
        assert self.store.recover(now_ms=1) == [], "a death is counted once"
        for task, row in self.store.held.tasks().items():
            assert row.deaths == before[task] + (task in running)
            assert row.quarantined or row.deaths < SMALL.deaths_max

    @rule()
    def crash_in_a_transaction(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.half_a_transaction()

    def half_a_transaction(self) -> None:
        with self.store.transaction():
            self.store.log.append(event(99), TASKS)
            self.store.outbox.append_report(run_report("one", 1, b"", "ok", 1, "", 1))
            raise KeyboardInterrupt

    @precondition(lambda self: self.store.outbox.reports(0))
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        last = self.store.log._connection.execute("SELECT report_sequence FROM agent").fetchone()[0]
        oldest = self.store.outbox.reports(0)[0].sequence
        up_to = data.draw(st.integers(oldest - 1, last))
        with self.store.transaction():
            self.store.outbox.acknowledge_reports(up_to)
        with pytest.raises(PeerRefused), self.store.transaction():
            self.store.outbox.acknowledge_reports(last + 1)

    @invariant()
    def counters_are_right(self) -> None:
        if not hasattr(self, "store"):
            return
        connection = self.store.log._connection
        agent = self.store.held.agent()
        events, size = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(length(data)), 0) FROM events"
        ).fetchone()
        assert agent.events_open == events
        row = connection.execute("SELECT events_open_bytes FROM agent").fetchone()
        assert row == (size,)
        reports, size = connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(length(payload)), 0) FROM reports"
        ).fetchone()
        assert (agent.reports_open, agent.reports_bytes) == (reports, size)

    @invariant()
    def reports_have_no_gaps(self) -> None:
        if not hasattr(self, "store"):
            return
        sequences = [
            sequence
            for (sequence,) in self.store.log._connection.execute(
                "SELECT sequence FROM reports ORDER BY sequence"
            )
        ]
        assert (
            sequences == list(range(sequences[0], sequences[0] + len(sequences)))
            if sequences
            else True
        )

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


StoreWalk.TestCase.settings = hypothesis_settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestStoreWalk = pytest.mark.slow(StoreWalk.TestCase)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "agent.db", random=Random(1), settings=SMALL)


def test_a_store_of_a_newer_agent_is_refused(tmp_path: Path, store: Store) -> None:
    store.close()
    connection = sqlite3.connect(tmp_path / "agent.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnknown, match="99"):
        Store(tmp_path / "agent.db", random=Random(1), settings=SMALL)


def test_the_boot_stays_over_restarts(tmp_path: Path, store: Store) -> None:
    boot = store.held.agent().boot
    store.close()
    again = Store(tmp_path / "agent.db", random=Random(2), settings=SMALL)
    assert again.held.agent().boot == boot
    again.close()


def test_messages_are_bounded_by_count_and_by_bytes(store: Store) -> None:
    with store.transaction():
        for _ in range(5):
            store.outbox.append_report(run_report("one", 1, b"u" * 16, "ok", 1, "", 1))
    assert [report.sequence for report in store.outbox.reports(0)] == [1, 2, 3]
    assert [report.sequence for report in store.outbox.reports(3)] == [4, 5]
    store.close()


def test_a_new_log_counts_what_waits_from_one(store: Store) -> None:
    ack = Ack(
        task="one", version=1, digest="d", release_id="r", outcome=Outcome.INSTALLED, error_code="",
        at_ms=1, traceparent="",
    )  # fmt: skip
    with store.transaction():
        for _ in range(4):
            store.outbox.append_report(run_report("one", 1, b"u" * 16, "ok", 1, "", 1))
            store.outbox.append_ack(ack)
        store.outbox.acknowledge_reports(2)
        store.outbox.acknowledge_acks(1)
        store.outbox.renumber(b"b" * 16)
    assert store.held.agent().boot == b"b" * 16
    assert [report.sequence for report in store.outbox.reports(0)] == [1, 2]
    assert [one.sequence for one in store.outbox.acks()] == [1, 2, 3]
    with store.transaction():
        assert store.outbox.append_report(run_report("one", 1, b"u" * 16, "ok", 1, "", 1)) == 3
        assert store.outbox.append_ack(ack) == 4
    store.close()


def test_uids_are_forgotten_in_order_and_never_while_their_event_waits(tmp_path: Path) -> None:
    settings = AgentSettings(seen_uids_max=3)
    store = Store(tmp_path / "agent.db", random=Random(1), settings=settings)
    with store.transaction():
        store.log.append(event(1), ["one"])
        for number in range(2, 9):
            store.log.append(event(number), [])
        again = [store.log.append(event(number), []).status.value for number in (1, 2, 8)]
    assert again == ["duplicate", "accepted", "duplicate"]
    store.close()
