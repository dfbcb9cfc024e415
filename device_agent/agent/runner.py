"""Runs events in their tasks' VMs, each (event, task) once.

Rules of this module:

- "Running X" is written ahead; it survives the death of this process, and safe mode counts it when the store opens.
- Effects (emits, what the task keeps, the run's report) and "consumed" are one transaction; a death before it runs the
  event again with no trace of the first run, a death after it never does.
- A run that ends badly is consumed with its report: only the agent's death makes an event come again.
- Who runs next is the pool's to decide: each task hands it a few events ahead, and "running X" is written when the turn
  comes. An event whose version is replaced while it waits for its turn is handed in again, with the new one.
- A version switch never loses or repeats an event; the old VM ends when its last run has.
- A task in which the agent died runs alone, one event at a time, until it has finished a run, so that the innocent are
  cleared and the guilty is known.
- An event that did not begin within its task's deadline is consumed with a report, and has no effects.
- With a full outbox nothing runs, nor does a task that was stopped; events wait, and then the feeder is refused.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path

from shoal_task.event import PAYLOAD_BYTES_MAX
from shoal_task.run_state import Changes, RunState

from device_agent.agent.bundles import BYTECODE, BundleFolders
from device_agent.agent.ground import Ground
from device_agent.agent.messages import run_report
from device_agent.agent.store.held import TaskRow
from device_agent.agent.store.log import Work
from device_agent.agent.store.outbox import Report, ReportKind
from device_agent.errors import ShoalError
from device_agent.failpoint import failpoint
from device_agent.tasks.bytecode import decode_bytecode
from device_agent.tasks.manifest import Manifest
from device_agent.vm.errors import VmDeadlinePassed, VmError, VmRetired
from device_agent.vm.interface import (
    DEADLINE_PASSED,
    OK,
    OUTPUT_LIMIT,
    RunOrder,
    RunResult,
    VmPool,
    VmSpec,
)
from device_agent.vm.task_spec import order_of, spec_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """The version of a task that new runs take."""

    row: TaskRow
    folder: Path
    manifest: Manifest
    spec: VmSpec


class _NoRoom(Exception):
    """The outbox filled up while the event waited for its turn."""


class Runner:
    """Takes work in order and runs it."""

    def __init__(
        self, ground: Ground, pool: VmPool, *, on_reports: Callable[[], None] = lambda: None
    ) -> None:
        self._store = ground.store
        self._clock = ground.clock
        self._settings = ground.settings
        self._observer = ground.observer
        self._python_tag = ground.facts.python_tag
        self._folders = BundleFolders(ground.home)
        self._pool = pool
        self._on_reports = on_reports
        self._in_flight: dict[tuple[str, int], Active] = {}
        self._unbegun: set[asyncio.Task[None]] = set()  # their events wait for their turn
        self._active: dict[str, Active] = {}
        self._pause_until_ms: dict[str, int] = {}
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """There may be new work, a new version, or room."""
        self._changed.set()

    def in_use(self) -> set[Path]:
        """Folders of bundles whose runs have not ended."""
        return {active.folder for active in self._in_flight.values()}

    async def run_pending(self) -> None:
        """Runs what can run now, and returns when nothing more can."""
        async with asyncio.TaskGroup() as group:
            while self._start(group) or self._in_flight:
                await self._wait(None)

    async def serve(self, stop: asyncio.Event) -> None:
        """Runs work as it comes, until `stop`; returns when the last run that has begun has ended."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._start(group)
                await self._wait(self._next_pause_s())
            for waiting in self._unbegun:
                waiting.cancel()

    async def _wait(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def _next_pause_s(self) -> float | None:
        now_ms = self._clock.monotonic_ms()
        waits = [until - now_ms for until in self._pause_until_ms.values() if until > now_ms]
        return max(min(waits), 1) / 1000 if waits else None

    def _start(self, group: asyncio.TaskGroup) -> int:
        started = 0
        rows = self._store.held.tasks()
        stopped = self._stopped(rows)
        self._retire_replaced(group, rows, stopped)
        if not self._store.outbox.has_room():
            return 0
        for task in self._runnable(stopped):
            active = self._active_of(task, rows.get(task))
            if active is None:
                continue
            alone = rows[task].deaths > 0
            for work in self._next(active, 1 if alone else self._settings.events_handed_max):
                self._in_flight[(work.task, work.sequence)] = active
                order = self._order(active, work, alone=alone)
                self._unbegun.add(group.create_task(self._run(active, work, order)))
                started += 1
        return started

    def _stopped(self, rows: Mapping[str, TaskRow]) -> Set[str]:
        held = self._store.held
        return rows.keys() if held.agent().kill_all else held.killed() | held.opted_out()

    def _runnable(self, stopped: Set[str]) -> list[str]:
        now_ms = self._clock.monotonic_ms()
        return [
            task
            for task in self._store.log.tasks_with_work()
            if task not in stopped and self._pause_until_ms.get(task, 0) <= now_ms
        ]

    def _next(self, active: Active, at_most: int) -> list[Work]:
        task = active.row.task
        handed = Counter(name for name, _ in self._in_flight)[task]
        if handed > at_most // 2:  # enough for now: reading ahead costs as much for one as for many
            return []
        waiting = self._store.log.waiting(task, at_most)
        new = [work for work in waiting if (task, work.sequence) not in self._in_flight]
        return new[: at_most - handed]

    def _order(self, active: Active, work: Work, *, alone: bool) -> RunOrder:
        age_ns = self._clock.monotonic_ns() - work.event.monotonic_ns
        age_ms = (
            max(age_ns, 0) // 1_000_000
        )  # from before a restart of the device: counted from now
        return order_of(active.manifest, age_ms=age_ms, alone=alone)

    def _active_of(self, task: str, row: TaskRow | None) -> Active | None:
        if row is None or row.quarantined or row.python_tag != self._python_tag:
            return None
        if task not in self._active:
            loaded = self._load(row)
            if loaded is None:
                return None
            self._active[task] = loaded
        return self._active[task]

    def _load(self, row: TaskRow) -> Active | None:
        bundle = self._store.held.bundle(row.task, row.digest, row.python_tag)
        assert bundle is not None, "a task's row and its bundle's are written together"
        folder = self._folders.folder(row.task, row.digest, row.python_tag)
        try:
            modules = decode_bytecode((folder / BYTECODE).read_bytes())
        except (OSError, ShoalError) as error:
            self._break(row, error)
            return None
        key = f"{bundle.task}/{bundle.digest}/{bundle.manifest.entry}"
        spec = spec_of(bundle.manifest, key=key, modules=modules, folder=folder)
        return Active(row=row, folder=folder, manifest=bundle.manifest, spec=spec)

    def _break(self, row: TaskRow, error: Exception) -> None:
        """The bundle on disk is damaged: say so in the profile and ask for a whole new document; work waits."""
        self._observer.broken(row.task, "FILE_DAMAGED", str(error))
        with self._store.transaction():
            self._store.held.put_task(replace(row, python_tag=""))
            self._store.held.put_epoch(self._store.held.agent().epoch, "")
        failpoint("agent.run.broken")

    async def _run(self, active: Active, work: Work, order: RunOrder) -> None:
        state = RunState(self._store.state(work.task), self._clock.wall_ms)
        try:
            result = await self._pool.run(
                active.spec,
                work.event.to_bytes(),
                order=order,
                on_start=lambda: self._mark(work),
                answer=state.answer,
            )
            failpoint("agent.run.returned")
            self._consume(active, work, checked(result), state.changes)
            failpoint("agent.run.consumed")
            self._on_reports()
        except asyncio.CancelledError:
            self._unmark(work)  # the agent stops: that is no death inside the task
            raise
        except (VmRetired, _NoRoom):
            pass  # it did not begin: its version is no more, or its effects would find no place
        except VmDeadlinePassed as error:
            self._consume(active, work, _dropped(str(error)), Changes())
            self._on_reports()
        except VmError as error:
            self._observer.broken(work.task, error.code, str(error))
            self._unmark(work)
            pause_ms = self._settings.retry_ms_min
            self._pause_until_ms[work.task] = self._clock.monotonic_ms() + pause_ms
        finally:
            self._begin()
            del self._in_flight[(work.task, work.sequence)]
            self._changed.set()

    def _begin(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._unbegun.discard(task)

    def _mark(self, work: Work) -> None:
        self._begin()
        if not self._store.outbox.has_room():
            raise _NoRoom
        with self._store.transaction(durable=False):
            self._store.log.mark_running(work)
        failpoint("agent.run.marked")

    def _unmark(self, work: Work) -> None:
        with self._store.transaction(durable=False):
            self._store.log.unmark_running(work)

    def _consume(self, active: Active, work: Work, result: RunResult, changes: Changes) -> None:
        row, now_ms = active.row, self._clock.wall_ms()
        with self._store.transaction():
            if not self._store.log.consume(work.task, work.sequence):
                return  # removed while it ran: its end is reported already
            self._store.append_all(_reports(row, work, result, now_ms))
            if result.outcome == OK:
                self._store.state(work.task).apply(changes)
            current = self._store.held.tasks()[work.task]
            ran_current = current.digest == row.digest and result.outcome == OK
            previous = "" if ran_current else current.previous_digest
            # What was dropped did not run: it clears nobody.
            deaths = current.deaths if result.outcome == DEADLINE_PASSED else 0
            if (deaths, previous) != (current.deaths, current.previous_digest):
                current = replace(current, deaths=deaths, previous_digest=previous)
                self._store.held.put_task(current)
                self._store.held.keep_bundles(current)
        self._observer.ran(work.task, row.version, result)

    def _retire_replaced(
        self, group: asyncio.TaskGroup, rows: Mapping[str, TaskRow], stopped: Set[str]
    ) -> None:
        """No new run takes a version that was replaced, removed, quarantined or stopped."""
        for task, active in list(self._active.items()):
            row = rows.get(task)
            replaced = row is None or row.quarantined or row.digest != active.row.digest
            if replaced or task in stopped:
                del self._active[task]
                group.create_task(self._pool.retire(active.spec.key))


def checked(result: RunResult) -> RunResult:
    """The result, or what becomes of it when an emit is too long for a report."""
    longest = max((len(emit.payload) for emit in result.emits), default=0)
    if longest <= PAYLOAD_BYTES_MAX:
        return result
    message = f"an emit of {longest} bytes; one emit may have {PAYLOAD_BYTES_MAX}"
    return replace(result, outcome=OUTPUT_LIMIT, emits=(), message=message)


def _dropped(why: str) -> RunResult:
    return RunResult(outcome=DEADLINE_PASSED, emits=(), logs=(), wall_us=0, message=why)


def _reports(row: TaskRow, work: Work, result: RunResult, now_ms: int) -> list[Report]:
    uid = work.event.uid
    emits = [
        Report(
            kind=ReportKind.EMIT,
            task=work.task,
            version=row.version,
            topic=emit.topic,
            event_uid=uid,
            at_ms=now_ms,
            payload=emit.payload,
        )
        for emit in result.emits
    ]
    end = run_report(
        work.task, row.version, uid, result.outcome, result.wall_us, result.message, now_ms
    )
    return [*emits, end]
