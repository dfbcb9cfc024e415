"""One VM as asyncio sees it: made, called, closed; and the hub that hears from all of them.

Rules of this module:

- The hub reads the host's channel when its file descriptor is readable and settles futures; it decides nothing.
- A call that nobody waits for any more is killed, so that it holds no VM.
- Calls that follow each other closely are answered without a turn of the event loop, a bounded number of them in a row.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from device_agent.vm import _host
from device_agent.vm.errors import VmClosed, VmCreateFailed, VmNotInstalled
from device_agent.vm.interface import (
    PLAN,
    Answer,
    Emit,
    Plan,
    RunResult,
    VmSpec,
    answer_nothing,
    plan_nothing,
)
from device_agent.vm.settings import CALLS_IN_A_ROW_MAX, VmSettings

if TYPE_CHECKING:
    from device_agent.vm._host import _Row

MIB = 1024 * 1024


class Hub:
    """Listens to the host for one event loop."""

    def __init__(self, settings: VmSettings | None = None) -> None:
        if not _host.installed():
            raise VmNotInstalled("call device_agent.vm.process.install() first in main()")
        self._settings = settings or VmSettings()
        self._loop = asyncio.get_running_loop()
        self._channel = _host.Channel()
        self._vms: dict[int, Vm] = {}
        self._loop.add_reader(self._channel.fileno(), self._hear)

    def create(
        self,
        spec: VmSpec,
        *,
        load_ms: int,
        on_ended: "Callable[[Vm], None]",
        plan: Plan = plan_nothing,
    ) -> "Vm":
        """Starts to make a VM; await its `ready`.

        Raises:
            VmCreateFailed: the process drains, or the system gives no thread.
        """
        try:
            handle = self._channel.create(
                entry=spec.entry,
                modules=dict(spec.modules),
                resources=dict(spec.resources),
                topics=tuple(spec.emit_topics),
                wall_ms=spec.limits.wall_ms,
                load_ms=load_ms,
                cpu_ms=spec.limits.cpu_ms,
                memory_bytes=spec.limits.memory_mib * MIB,
                engine_bytes=spec.limits.engine_mib * MIB,
                output_bytes=spec.limits.output_bytes,
                log_lines=spec.limits.log_lines,
            )
        except RuntimeError as error:
            raise VmCreateFailed(f"no VM for {spec.key}: {error}") from None
        vm = Vm(spec, handle, self._loop, on_ended, plan, self._settings.spin_us)
        self._vms[handle.id] = vm
        return vm

    def close(self) -> None:
        """Stops listening; VMs that are left end on their own."""
        self._loop.remove_reader(self._channel.fileno())
        self._channel.dismiss()
        for vm in list(self._vms.values()):
            vm.forget()

    def _hear(self) -> None:
        for row in self._channel.take():
            number, happened, run, outcome, _, emits, _, _, _ = row
            vm = self._vms[number]
            if happened == "ended":
                del self._vms[number]
                vm.end()
            elif happened == "asked":
                vm.asked(run, outcome, emits[0])
            else:
                vm.settle(row)
                if happened == "ready" and self._settings.spare:
                    self._channel.prepare()  # not before: it would slow what was being made


class Vm:
    """One VM of one task version.

    Attributes:
        spec: What it was made from.
        ready: Done with the outcome of loading the task; run 0.
        ended: Done when its thread has ended.
        spent: It takes no more runs; make another.
    """

    __slots__ = (
        "_answers",
        "_handle",
        "_in_a_row",
        "_loop",
        "_on_ended",
        "_plan",
        "_planning",
        "_runs",
        "_spin_us",
        "_waiting",
        "ended",
        "ready",
        "spec",
        "spent",
    )

    def __init__(
        self,
        spec: VmSpec,
        handle: _host.Vm,
        loop: asyncio.AbstractEventLoop,
        on_ended: "Callable[[Vm], None]",
        plan: Plan,
        spin_us: int,
    ) -> None:
        self.spec = spec
        self.spent = False
        self.ready: asyncio.Future[RunResult] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._handle = handle
        self._loop = loop
        self._on_ended = on_ended
        self._plan = plan
        self._planning: asyncio.Task[None] | None = None
        self._runs = itertools.count(1)
        self._spin_us = spin_us
        self._in_a_row = 0
        self._waiting: dict[int, asyncio.Future[RunResult]] = {0: self.ready}
        self._answers: dict[int, Answer] = {}

    @property
    def used_bytes(self) -> int:
        """Python memory of this VM now."""
        return self._handle.used_bytes

    @property
    def left_behind(self) -> bool:
        """It is in a call that does not come back, and nobody waits for it."""
        return self._handle.left_behind

    @property
    def peak_bytes(self) -> int:
        """Most that it has held so far."""
        return self._handle.peak_bytes

    async def call(self, event: bytes, answer: Answer = answer_nothing) -> RunResult:
        """Runs one event; cancelling the call kills the run.

        Raises:
            VmClosed: the VM takes no more runs.
        """
        if self._in_a_row >= CALLS_IN_A_ROW_MAX:
            self._in_a_row = 0
            await asyncio.sleep(0)
        run = next(self._runs)
        said = self._handle.call(run, event, self._spin_us)
        if said is False:
            raise VmClosed(f"the VM of {self.spec.key} takes no more runs")
        if said is not True:
            if said[2] == run:
                self._in_a_row += 1
                self.spent = self.spent or said[8]
                return self._result(said)
            self.settle(said)  # of a call before this one
        return await self._hear_of(run, answer)

    async def _hear_of(self, run: int, answer: Answer) -> RunResult:
        self._in_a_row = 0
        future: asyncio.Future[RunResult] = self._loop.create_future()
        self._waiting[run] = future
        if answer is not answer_nothing:
            self._answers[run] = answer
        try:
            return await future
        except asyncio.CancelledError:
            self.spent = True
            self._handle.cancel(run)
            raise
        finally:
            self._answers.pop(run, None)

    def sample(self) -> tuple[str, ...]:
        """The stack of what runs; see interface.Vm."""
        return self._handle.sample()

    def cancel_all(self) -> None:
        """Kills what loads, runs or waits here; the VM takes no more runs."""
        self.spent = True
        for run in list(self._waiting):
            self._handle.cancel(run)

    def close(self) -> None:
        """Ends the VM after the runs that it has taken."""
        self.spent = True
        self._handle.close()

    def asked(self, run: int, what: str, said: tuple[str, bytes]) -> None:
        """The hub tells what the run asks, and its path and data; it waits until it is answered."""
        path, data = said
        if what == PLAN:
            self._planning = self._loop.create_task(self._answer_plan(run, path, data))
            return
        try:
            self._handle.answer(run, True, self._answers.get(run, answer_nothing)(what, data))
        except ValueError as error:
            self._handle.answer(run, False, str(error).encode())

    async def _answer_plan(self, run: int, path: str, request: bytes) -> None:
        try:
            self._handle.answer(run, True, await self._plan(self.spec, path, request))
        except ValueError as error:
            self._handle.answer(run, False, str(error).encode())

    def settle(self, row: "_Row") -> None:
        """The hub tells what a run came to."""
        self.spent = self.spent or row[8]
        future = self._waiting.pop(row[2], None)
        if future is not None and not future.done():
            future.set_result(self._result(row))

    def _result(self, row: "_Row") -> RunResult:
        _, _, _, outcome, message, emits, logs, wall_us, _ = row
        return RunResult(
            outcome=outcome,
            emits=tuple([Emit(topic=topic, payload=payload) for topic, payload in emits]),
            logs=logs,
            wall_us=wall_us,
            message=message,
            memory_bytes=self._handle.peak_bytes,
            engine_bytes=self._handle.engine_peak_bytes,
        )

    def end(self) -> None:
        """The hub tells that the thread has ended."""
        self.spent = True
        if not self.ended.done():
            self.ended.set_result(None)
        self._on_ended(self)

    def forget(self) -> None:
        """The hub stops listening: nobody will hear of this VM again."""
        self._handle.close()
        self.ended.cancel()


def raise_if_not_made(key: str, result: RunResult) -> None:
    """Tells a VM that could not be made from a task that did not load.

    Raises:
        VmCreateFailed: there is no interpreter at all.
    """
    if result.outcome == VmCreateFailed.code:
        raise VmCreateFailed(f"no VM for {key}: {result.message}")
