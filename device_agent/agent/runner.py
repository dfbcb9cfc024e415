"""Runs events in their tasks' VMs, each (event, task) once.

Rules of this module:

- "Running X" is written ahead; it survives the death of this process, and safe mode counts it when the store opens.
- Effects (emits, the run's report) and "consumed" are one transaction; a death before it runs the event again with
  no trace of the first run, a death after it never does.
- A run that ends badly is consumed with its report: only the agent's death makes an event come again.
- The version is looked up when a run starts, so a switch never loses or repeats an event; the old VM ends when its
  last run has.
- A task in which the agent died runs alone until it has finished a run, so that the innocent are cleared and the
  guilty is known.
- With a full outbox nothing runs; events wait, and then the feeder is refused.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shoal_task.event import PAYLOAD_BYTES_MAX

from device_agent.agent.bundles import BYTECODE, BundleFolders
from device_agent.agent.ground import Ground
from device_agent.agent.messages import run_report
from device_agent.agent.store.held import BundleRow, TaskRow
from device_agent.agent.store.log import Work
from device_agent.agent.store.outbox import Report, ReportKind
from device_agent.errors import ShoalError
from device_agent.failpoint import failpoint
from device_agent.tasks.bytecode import decode_bytecode
from device_agent.vm.errors import VmError
from device_agent.vm.interface import OK, OUTPUT_LIMIT, RunResult, VmLimits, VmPool, VmSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """The version of a task that new runs take."""

    row: TaskRow
    folder: Path
    spec: VmSpec


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
        self._active: dict[str, Active] = {}
        self._retired: list[str] = []
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
        await self._retire_idle()

    async def serve(self, stop: asyncio.Event) -> None:
        """Runs work as it comes, until `stop`; returns when the last run has ended."""
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                self._start(group)
                await self._retire_idle()
                await self._wait(self._next_pause_s())

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
        if not self._store.outbox.has_room():
            return 0
        rows = self._store.held.tasks()
        self._retire_replaced(rows)
        for task in self._runnable():
            if not self._may_join(task, rows):
                continue
            active = self._active_of(task, rows.get(task))
            if active is None:
                continue
            for work in self._next(active, alone=rows[task].deaths > 0):
                self._in_flight[(work.task, work.sequence)] = active
                group.create_task(self._run(active, work))
                started += 1
        return started

    def _runnable(self) -> list[str]:
        agent = self._store.held.agent()
        if agent.kill_all or len(self._in_flight) >= self._settings.runs_parallel_max:
            return []
        stopped = self._store.held.killed() | self._store.held.opted_out()
        now_ms = self._clock.monotonic_ms()
        return [
            task
            for task in self._store.log.tasks_with_work()
            if task not in stopped and self._pause_until_ms.get(task, 0) <= now_ms
        ]

    def _next(self, active: Active, *, alone: bool) -> list[Work]:
        task = active.row.task
        busy = Counter(name for name, _ in self._in_flight)[task]
        room = min(
            active.spec.concurrency - busy, self._settings.runs_parallel_max - len(self._in_flight)
        )
        room = min(room, 1) if alone else room
        if room <= 0:
            return []
        waiting = self._store.log.waiting(task, busy + room)
        return [work for work in waiting if (task, work.sequence) not in self._in_flight][:room]

    def _may_join(self, task: str, rows: Mapping[str, TaskRow]) -> bool:
        """Whether the task may run beside what runs: a suspect runs alone, one event at a time."""
        suspects = {name for name, row in rows.items() if row.deaths and not row.quarantined}
        running = {name for name, _ in self._in_flight}
        return not running if task in suspects else not running & suspects

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
        return Active(row=row, folder=folder, spec=_spec(bundle, folder, modules))

    def _break(self, row: TaskRow, error: Exception) -> None:
        """The bundle on disk is damaged: say so in the profile and ask for a whole new document; work waits."""
        self._observer.broken(row.task, "FILE_DAMAGED", str(error))
        with self._store.transaction():
            self._store.held.put_task(replace(row, python_tag=""))
            self._store.held.put_epoch(self._store.held.agent().epoch, "")
        failpoint("agent.run.broken")

    async def _run(self, active: Active, work: Work) -> None:
        try:
            with self._store.transaction(durable=False):
                self._store.log.mark_running(work)
            failpoint("agent.run.marked")
            result = await self._pool.run(active.spec, work.event.to_bytes())
            failpoint("agent.run.returned")
            self._consume(active, work, checked(result))
            failpoint("agent.run.consumed")
            self._on_reports()
        except asyncio.CancelledError:
            self._unmark(work)  # the agent stops: that is no death inside the task
            raise
        except VmError as error:
            self._observer.broken(work.task, error.code, str(error))
            self._unmark(work)
            pause_ms = self._settings.retry_ms_min
            self._pause_until_ms[work.task] = self._clock.monotonic_ms() + pause_ms
        finally:
            del self._in_flight[(work.task, work.sequence)]
            self._changed.set()

    def _unmark(self, work: Work) -> None:
        with self._store.transaction(durable=False):
            self._store.log.unmark_running(work)

    def _consume(self, active: Active, work: Work, result: RunResult) -> None:
        row, now_ms = active.row, self._clock.wall_ms()
        with self._store.transaction():
            if not self._store.log.consume(work.task, work.sequence):
                return  # removed while it ran: its end is reported already
            self._store.append_all(_reports(row, work, result, now_ms))
            current = self._store.held.tasks()[work.task]
            ran_current = current.digest == row.digest and result.outcome == OK
            previous = "" if ran_current else current.previous_digest
            if current.deaths or previous != current.previous_digest:
                current = replace(current, deaths=0, previous_digest=previous)
                self._store.held.put_task(current)
                self._store.held.keep_bundles(current)
        self._observer.ran(work.task, row.version, result)

    def _retire_replaced(self, rows: Mapping[str, TaskRow]) -> None:
        """No new run takes a version that was replaced, removed or quarantined."""
        for task, active in list(self._active.items()):
            row = rows.get(task)
            if row is None or row.quarantined or row.digest != active.row.digest:
                del self._active[task]
                self._retired.append(active.spec.key)

    async def _retire_idle(self) -> None:
        self._retire_replaced(self._store.held.tasks())
        running = {active.spec.key for active in self._in_flight.values()}
        idle = [key for key in self._retired if key not in running]
        self._retired = [key for key in self._retired if key in running]
        for key in idle:
            await self._pool.retire(key)


def checked(result: RunResult) -> RunResult:
    """The result, or what becomes of it when an emit is too long for a report."""
    longest = max((len(emit.payload) for emit in result.emits), default=0)
    if longest <= PAYLOAD_BYTES_MAX:
        return result
    message = f"an emit of {longest} bytes; one emit may have {PAYLOAD_BYTES_MAX}"
    return replace(result, outcome=OUTPUT_LIMIT, emits=(), message=message)


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


def _spec(bundle: BundleRow, folder: Path, modules: dict[str, bytes]) -> VmSpec:
    manifest = bundle.manifest
    return VmSpec(
        key=f"{bundle.task}/{bundle.digest}/{manifest.entry}",
        modules=modules,
        entry=manifest.entry,
        resources={
            resource.path: str((folder / resource.path).resolve())
            for resource in manifest.resources
        },
        emit_topics=manifest.emit,
        limits=VmLimits(
            wall_ms=manifest.limits.wall_ms,
            memory_mib=manifest.limits.memory_mib,
            output_bytes=manifest.limits.output_bytes,
            log_lines=manifest.limits.log_lines,
        ),
        concurrency=manifest.limits.concurrency,
    )
