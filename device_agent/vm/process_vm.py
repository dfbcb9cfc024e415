"""A VM that is a process of its own: spawned, fed by a pipe, killed as a whole.

Rules of this module:

- It keeps the same promises as an interpreter of this process; tests/conformance runs one suite on both. It is the
  fallback where interpreters misbehave, and what they are compared with.
- Wall time is a timer here, and its kill is SIGKILL, which nothing outlasts: no VM of this kind is ever quarantined.
- Processor time is that of the whole process, looked at while it runs.
- Memory is what the process holds beyond its start, its tensors included: watched while it runs, and a limit of the
  system some headroom above makes one big request fail at once. Both need Linux, as the clock of another process does;
  elsewhere only wall time and tensors are bounded.
- Tensors are counted in the process itself, which ends with a status of its own when they need too much.
- A process that dies by itself ends its run as TASK_CRASHED; nobody else notices.
"""

import asyncio
import functools
import marshal
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from device_agent.engine import _core
from device_agent.vm import stdlib
from device_agent.vm.errors import VmClosed, VmCreateFailed
from device_agent.vm.interface import (
    CPU_LIMIT,
    ENGINE_MEMORY_LIMIT,
    MEMORY_LIMIT,
    OK,
    RUN_CANCELLED,
    TASK_CRASHED,
    WALL_LIMIT,
    Answer,
    Emit,
    Plan,
    RunResult,
    VmSpec,
    answer_nothing,
    plan_nothing,
)
from device_agent.vm.settings import (
    PROCESS_ENGINE_STATUS,
    PROCESS_HEADROOM_MIB,
    PROCESS_MEMORY_LOOK_MS,
)

try:
    import resource
except ImportError:  # not on this system: no limit of memory there
    resource = None  # type: ignore[assignment]

CHILD = Path(__file__).with_name("process_child.py")
MIB = 1024 * 1024
ASK_BYTES_MAX = 4 * MIB
ANSWER_BYTES_OVER = MIB  # names, message and lengths beside the payloads of an answer
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, eq=False)
class _Run:
    event: bytes
    answer: Answer
    done: asyncio.Future[RunResult]


class ProcessHub:
    """Makes processes for one event loop."""

    def __init__(self) -> None:
        self._vms: set[ProcessVm] = set()

    def create(
        self,
        spec: VmSpec,
        *,
        load_ms: int,
        on_ended: "Callable[[ProcessVm], None]",
        plan: Plan = plan_nothing,
    ) -> "ProcessVm":
        """Starts to make a VM; await its `ready`."""

        def ended(vm: "ProcessVm") -> None:
            self._vms.discard(vm)
            on_ended(vm)

        vm = ProcessVm(spec, load_ms, ended, plan)
        self._vms.add(vm)
        return vm

    def close(self) -> None:
        """Kills what is left."""
        for vm in list(self._vms):
            vm.cancel_all()


class ProcessVm:
    """One process of one task version.

    Attributes:
        spec: What it was made from.
        ready: Done with the outcome of loading the task.
        ended: Done when the process is gone.
        spent: It takes no more runs; make another.
        used_bytes: Memory that the process held beyond its start when it was last looked at.
        left_behind: Never: a kill ends a process.
    """

    def __init__(
        self, spec: VmSpec, load_ms: int, on_ended: "Callable[[ProcessVm], None]", plan: Plan
    ) -> None:
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.spent = False
        self.used_bytes = 0
        self.left_behind = False
        self.ready: asyncio.Future[RunResult] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._load_ms = load_ms
        self._memory_bytes_max = (spec.limits.memory_mib + spec.limits.engine_mib) * MIB
        self._on_ended = on_ended
        self._plan = plan
        self._planning = False
        self._planned_s = 0.0  # of the present run: its clock stood meanwhile
        self._loop = loop
        self._queue: deque[_Run] = deque()
        self._changed = asyncio.Event()
        self._closing = False
        self._reason = ""
        self._base_bytes = 0
        self._peak_bytes = 0
        self._logs: list[str] = []
        self._answer: Answer = answer_nothing
        self._process: asyncio.subprocess.Process | None = None
        self._life = loop.create_task(self._live())

    async def call(self, event: bytes, answer: Answer = answer_nothing) -> RunResult:
        """Runs one event; cancelling the call kills the run.

        Raises:
            VmClosed: the VM takes no more runs.
        """
        if self.spent or self._closing:
            raise VmClosed(f"the VM of {self.spec.key} takes no more runs")
        run = _Run(event, answer, self._loop.create_future())
        self._queue.append(run)
        self._changed.set()
        try:
            return await run.done
        except asyncio.CancelledError:
            self.cancel_all()
            raise

    def sample(self) -> tuple[str, ...]:
        """Nothing: another process is not looked into."""
        return ()

    def cancel_all(self) -> None:
        """Kills what loads, runs or waits here; the VM takes no more runs."""
        self._kill(RUN_CANCELLED)
        self.close()

    def close(self) -> None:
        """Ends the VM after the runs that it has taken."""
        self.spent = self._closing = True
        self._changed.set()

    def _kill(self, reason: str) -> None:
        self.spent = True
        self._reason = self._reason or reason
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _live(self) -> None:
        try:
            await self._spawn()
            loaded = await self._answered(self._load_ms)
            if loaded.outcome != OK:
                self.spent = True
            _settle(self.ready, loaded)
            await self._serve()
        except OSError as error:
            failed = f"the process could not be started: {error}"
            _settle(self.ready, _ended_as(VmCreateFailed.code, failed))
        finally:
            await self._end()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-P", "-E", str(CHILD),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env={}, cwd="/",
        )  # fmt: skip
        self._send(_task(self.spec))

    async def _serve(self) -> None:
        while not self._reason:
            while not self._queue and not self._closing and not self.spent:
                self._changed.clear()
                await self._changed.wait()
            if not self._queue or (self.spent and not self._closing):
                return
            run = self._queue.popleft()
            if run.done.cancelled():
                continue
            self._answer = run.answer
            self._send(run.event)
            _settle(
                run.done, await self._answered(self.spec.limits.wall_ms, self.spec.limits.cpu_ms)
            )

    async def _end(self) -> None:
        self.spent = True
        if self._process is not None:
            assert self._process.stdin is not None
            if self._reason:
                self._kill(self._reason)
            self._process.stdin.close()
            await self._process.wait()
        for run in self._queue:
            _settle(run.done, _ended_as(RUN_CANCELLED, "the run was ended before it began"))
        _settle(self.ready, _ended_as(RUN_CANCELLED, "the run was cancelled"))
        self.ended.set_result(None)
        self._on_ended(self)

    def _send(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.writelines([len(data).to_bytes(8, "little"), data])

    async def _answered(self, wall_ms: int, cpu_ms: int = 0) -> RunResult:
        """What the run that was sent comes to, within its time and memory."""
        self._logs = []
        self._planned_s = 0.0
        cpu_until_ns = self._cpu_ns() + cpu_ms * 1_000_000
        began = self._loop.time()
        reading = asyncio.ensure_future(self._read())
        while not reading.done():
            left_ms = wall_ms - (self._loop.time() - began - self._planned_s) * 1_000
            if left_ms <= 0 and not self._planning:
                self._kill(WALL_LIMIT)
                break
            look_ms = min(max(left_ms, 1), PROCESS_MEMORY_LOOK_MS)
            await asyncio.wait({reading}, timeout=look_ms / 1_000)
            if self._look() > self._memory_bytes_max and not reading.done():
                self._kill(MEMORY_LIMIT)
            if cpu_ms and self._cpu_ns() >= cpu_until_ns and not reading.done():
                self._kill(CPU_LIMIT)
        fields = await reading
        wall_us = int((self._loop.time() - began) * 1e6)
        if fields is None:
            await self._judge_death()
            return self._died(wall_us, wall_ms)
        outcome, message, spent, inner_us, engine_bytes, *emits = fields
        if int(inner_us) > wall_ms * 1_000:  # this loop was busy when the time was up
            self._kill(WALL_LIMIT)
            return self._died(int(inner_us), wall_ms)
        self.spent = self.spent or bool(spent)
        return RunResult(
            outcome=outcome.decode(),
            emits=tuple(
                Emit(topic=topic.decode(), payload=payload)
                for topic, payload in zip(emits[::2], emits[1::2], strict=True)
            ),
            logs=tuple(self._logs),
            wall_us=int(inner_us),
            message=message.decode(),
            memory_bytes=self._peak_bytes,
            engine_bytes=int(engine_bytes),
        )

    async def _judge_death(self) -> None:
        assert self._process is not None
        if not self._reason and await self._process.wait() == PROCESS_ENGINE_STATUS:
            self._reason = ENGINE_MEMORY_LIMIT

    def _died(self, wall_us: int, wall_ms: int) -> RunResult:
        self.spent = True
        why = {
            WALL_LIMIT: f"the run took longer than {wall_ms} ms and was killed",
            CPU_LIMIT: f"the run took more than {self.spec.limits.cpu_ms} ms of processor time and was killed",
            MEMORY_LIMIT: f"the VM needed more than {self.spec.limits.memory_mib} MiB and was killed",
            ENGINE_MEMORY_LIMIT: f"the run's tensors needed more than {self.spec.limits.engine_mib} MiB; "
            "use smaller ones or raise engine_mib",
            RUN_CANCELLED: "the run was cancelled",
        }
        reason = self._reason or TASK_CRASHED
        self._reason = reason
        message = why.get(reason, "the process of the task died; it did what no Python code should")
        return RunResult(
            outcome=reason,
            emits=(),
            logs=tuple(self._logs),
            wall_us=wall_us,
            message=message,
            memory_bytes=self._peak_bytes,
        )

    async def _read(self) -> list[bytes] | None:
        """The fields of the next answer; None when the process died."""
        assert self._process is not None
        reader = self._process.stdout
        assert reader is not None
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "little")
                if size > max(self.spec.limits.output_bytes, ASK_BYTES_MAX) + ANSWER_BYTES_OVER:
                    self._kill(TASK_CRASHED)
                    return None
                kind, *fields = _fields(await reader.readexactly(size))
                if kind == b"R":
                    return fields
                if kind == b"P":
                    path, data = fields
                    await self._asked_plan(path.decode(), data)
                    continue
                if kind == b"A":
                    what, data = fields
                    self._asked(what.decode(), data)
                    continue
                if len(self._logs) < self.spec.limits.log_lines:
                    self._logs += [field.decode("utf-8", "replace") for field in fields[:1]]
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except ValueError:  # what it said is no frame
            self._kill(TASK_CRASHED)
            return None

    async def _asked_plan(self, path: str, request: bytes) -> None:
        began = self._loop.time()
        self._planning = True
        try:
            self._send(b"1" + await self._plan(self.spec, path, request))
        except ValueError as error:
            self._send(b"0" + str(error).encode())
        finally:
            self._planning = False
            self._planned_s += self._loop.time() - began

    def _asked(self, what: str, data: bytes) -> None:
        try:
            self._send(b"1" + self._answer(what, data))
        except ValueError as error:
            self._send(b"0" + str(error).encode())

    def _cpu_ns(self) -> int:
        """Processor time of the process so far; its clock's number is made of its id, as Linux defines it."""
        assert self._process is not None
        try:
            return time.clock_gettime_ns((~self._process.pid << 3) | 2)
        except OSError:
            return 0

    def _look(self) -> int:
        """Reads how much the process holds beyond its start; the first look sets the start and the system's limit."""
        assert self._process is not None
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        except OSError:
            return 0
        if not pages or int(pages[1]) == 0:
            return 0
        held_bytes = int(pages[1]) * PAGE_BYTES
        if not self._base_bytes:
            self._base_bytes = held_bytes
            self._bound(int(pages[5]) * PAGE_BYTES)
        self.used_bytes = max(held_bytes - self._base_bytes, 0)
        self._peak_bytes = max(self._peak_bytes, self.used_bytes)
        return self.used_bytes

    def _bound(self, data_bytes: int) -> None:
        if resource is None or not hasattr(resource, "prlimit"):
            return
        assert self._process is not None
        most_bytes = data_bytes + self._memory_bytes_max + PROCESS_HEADROOM_MIB * MIB
        with suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, (most_bytes, most_bytes))


def _fields(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4 + size
        if at > len(data):
            raise ValueError("a field is longer than its frame")
        found.append(data[at - size : at])
    return found


@functools.cache
def _table() -> dict[str, tuple[str, bool, bytes]]:
    return {row.name: (row.kind, row.package, row.body) for row in stdlib.table()}


def _task(spec: VmSpec) -> bytes:
    return marshal.dumps(
        {
            "entry": spec.entry,
            "modules": dict(spec.modules),
            "resources": dict(spec.resources),
            "topics": tuple(spec.emit_topics),
            "output_bytes": spec.limits.output_bytes,
            "log_lines": spec.limits.log_lines,
            "engine_bytes": spec.limits.engine_mib * MIB,
            "engine_status": PROCESS_ENGINE_STATUS,
            "costs": [(level, *found) for level in _core.levels() if (found := _core.costs(level))],
            "table": _table(),
            "glue": stdlib.glue_code(),
        }
    )


def _ended_as(outcome: str, message: str) -> RunResult:
    return RunResult(outcome=outcome, emits=(), logs=(), wall_us=0, message=message)


def _settle(future: asyncio.Future[RunResult], result: RunResult) -> None:
    if not future.done():
        future.set_result(result)
