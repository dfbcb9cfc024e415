"""What a document changes in the store, for any document on any device: what it says, told once, all or nothing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from shoal.telemetry.v1 import telemetry_pb2
from shoal_task.run_state import Changes

from device_agent.agent import documents
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.outbox import Outcome, ReportKind
from device_agent.agent.store.store import Store
from device_agent.tasks.director import (
    Action,
    BundleFile,
    DirectorDocument,
    KillSwitch,
    Scope,
    TaskInstruction,
)
from device_agent.tasks.manifest import Manifest, Trigger
from tests.helpers.devices import event

TAG = "cpython-313-3571"
TASKS = ("one", "two", "three")
DIGESTS = {version: f"sha256:{version:064x}" for version in (1, 2)}
FILE = BundleFile(path="code.bin", digest=DIGESTS[1], size=1, scope=Scope.SHARED, target="t")
versions = st.sampled_from([1, 2])


def instruction(task: str, action: Action, version: int) -> TaskInstruction:
    removes = action is Action.REMOVE
    return TaskInstruction(
        task=task,
        action=action,
        version=0 if removes else version,
        digest="" if removes else DIGESTS[version],
        release_id=f"r-{task}",
        files=(FILE,) if action in (Action.INSTALL, Action.ROLL_BACK) else (),
    )


instructions = st.builds(instruction, st.sampled_from(TASKS), st.sampled_from(Action), versions)
kills = st.builds(KillSwitch, all=st.booleans(), tasks=st.sets(st.sampled_from(TASKS)).map(tuple))
documents_of = st.builds(
    lambda tasks, kill: (tuple(tasks), kill),
    st.lists(instructions, max_size=3, unique_by=lambda one: one.task),
    kills,
)
rows = st.builds(
    lambda task, version, wanted, quarantined: TaskRow(
        task=task,
        version=version,
        digest=DIGESTS[version] if version else "",
        python_tag=TAG if version else "",
        quarantined=bool(version) and quarantined,
        wanted=instruction(task, Action.INSTALL, wanted) if wanted or not version else None,
        tries=3,
        told="FILE_DAMAGED",
    ),
    st.just("one"),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 1, 2]).map(lambda version: version or 1),
    st.booleans(),
)
held_tasks = st.fixed_dictionaries({}, optional=dict.fromkeys(TASKS, rows))


@contextmanager
def a_store(held: dict[str, TaskRow]) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "agent.db", random=Random(1), settings=AgentSettings())
        with store.transaction():
            for name, row in held.items():
                store.held.put_task(renamed(row, name))
                if row.version:
                    store.held.put_triggers(
                        Manifest(name=name, entry="m:f", triggers=(Trigger(event=7),))
                    )
                    store.log.append(event(TASKS.index(name) + 1, 7), [name])
                    store.state(name).apply(Changes(values={"k": b"v"}, rows={}, cleared=set()))
        yield store
        store.close()


def renamed(row: TaskRow, name: str) -> TaskRow:
    from dataclasses import replace

    wanted = row.wanted
    if wanted is not None:
        wanted = instruction(name, wanted.action, wanted.version)
    return replace(row, task=name, wanted=wanted)


def accept(store: Store, tasks: tuple[TaskInstruction, ...], kill: KillSwitch) -> None:
    document = DirectorDocument(
        device="d",
        namespace="demo/app",
        epoch=9,
        issued_at_ms=1_000,
        expires_at_ms=2_000,
        tasks=tasks,
        kill=kill,
    )
    documents.accept(store, document, b"envelope", facts_digest="f", python_tag=TAG, now_ms=1_500)


@pytest.mark.slow
@hypothesis_settings(max_examples=12)
@given(held=held_tasks, said=documents_of)
def test_a_document_changes_what_it_names_and_tells_it_once(
    held: dict[str, TaskRow], said: tuple[tuple[TaskInstruction, ...], KillSwitch]
) -> None:
    tasks, kill = said
    with a_store(held) as store:
        before = store.held.tasks()
        accept(store, tasks, kill)
        after = store.held.tasks()
        acks = {(ack.task, ack.outcome, ack.error_code) for ack in store.outbox.acks()}
        named = {one.task: one for one in tasks}
        for name in TASKS:
            check_one(name, named.get(name), before.get(name), after.get(name), acks)
        assert len(acks) == sum(one.action is not Action.KEEP for one in tasks)
        removed = [name for name in before if name in named and named[name].action is Action.REMOVE]
        check_removed(store, before, removed)
        agent = store.held.agent()
        assert (agent.epoch, agent.document, agent.facts_digest) == (9, (9, 1_000), "f")
        assert (agent.kill_all, store.held.killed()) == (kill.all, frozenset(kill.tasks))


def check_one(
    name: str,
    said: TaskInstruction | None,
    before: TaskRow | None,
    after: TaskRow | None,
    acks: set[tuple[str, Outcome, str]],
) -> None:
    """The rules of plan.py for one task, from what the operator sees."""
    if said is None:
        assert after == before, "a task that is not named stays as it is"
        return
    runs = before is not None and before.digest == said.digest and before.version > 0
    if said.action is Action.REMOVE:
        assert after is None
        assert (name, Outcome.REMOVED, "") in acks
    elif said.action is Action.KEEP:
        if (
            before is not None
            and before.wanted is not None
            and before.wanted.version != said.version
        ):
            assert after is None or after.wanted is None
            assert (after is None) == (before.version == 0), "what runs goes on"
        else:
            assert after == before
    elif runs:
        assert before is not None
        assert after is not None
        assert (after.wanted, after.tries, after.told) == (None, 0, "")
        assert (after.version, after.quarantined) == (before.version, before.quarantined)
        done = Outcome.ROLLED_BACK if said.action is Action.ROLL_BACK else Outcome.INSTALLED
        expected = (Outcome.FAILED, "TASK_QUARANTINED") if before.quarantined else (done, "")
        assert (name, *expected) in acks
    else:
        assert after is not None
        assert (after.wanted, after.tries, after.told) == (said, 0, "")
        assert after.digest == (before.digest if before is not None else ""), "until it is there"
        assert (name, Outcome.NOTIFIED, "") in acks


def check_removed(store: Store, before: dict[str, TaskRow], removed: list[str]) -> None:
    ran = [name for name in before if before[name].version]
    gone = [name for name in removed if before[name].version]
    reports = store.outbox.reports(0)
    assert [one.task for one in reports] == sorted(gone, key=[one.task for one in reports].index)
    for one in reports:
        assert one.kind is ReportKind.RUN
        assert telemetry_pb2.RunSummary.FromString(one.payload).outcome == "TASK_REMOVED"
        assert one.version == before[one.task].version
    for name in ran:
        assert len(store.log.waiting(name, 5)) == (name not in gone)
        assert (name in store.log.listeners(7)) == (name not in gone)
        assert store.state(name).value("k") == (None if name in gone else b"v")
    assert store.held.agent().events_open == len(ran) - len(gone)


def test_a_document_that_cannot_be_written_changes_nothing() -> None:
    installed = TaskRow(task="one", version=1, digest=DIGESTS[1], python_tag=TAG)
    with a_store({"one": installed}) as store:
        before = store.held.tasks(), store.held.agent()
        store.log._connection.execute("DROP TABLE killed")
        from device_agent.agent.errors import StoreFailed

        with pytest.raises(StoreFailed):
            accept(store, (instruction("one", Action.REMOVE, 1),), KillSwitch(all=True))
        assert (store.held.tasks(), store.held.agent()) == before
        assert store.outbox.acks() == []
        assert len(store.log.waiting("one", 5)) == 1


def test_a_document_again_tells_again_and_changes_nothing_more() -> None:
    """An answer that was lost comes a second time."""
    with a_store({}) as store:
        wanted = (instruction("one", Action.INSTALL, 1),)
        accept(store, wanted, KillSwitch())
        first = store.held.tasks()
        accept(store, wanted, KillSwitch())
        assert store.held.tasks() == first
        assert [ack.outcome for ack in store.outbox.acks()] == [Outcome.NOTIFIED] * 2
