"""The shell around the scheduler: it makes, calls and ends VMs as the machine says, and tells it what came of them.

Rules of this module:

- What runs next, in which VM and who makes room is decided in `scheduler`; here only futures, timers and VMs are held.
- A VM whose run was killed is not used again. One that does not end is left behind and takes nobody's place.
- Behind it stands one kind of VM: interpreters of this process (`InterpreterPool`) or processes (`ProcessPool`).
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from device_agent.clock import Clock, SystemClock
from device_agent.vm import _host
from device_agent.vm.errors import (
    VmClosed,
    VmDeadlinePassed,
    VmError,
    VmQueueFull,
    VmRetired,
    VmTaskQueueFull,
)
from device_agent.vm.interface import (
    AT_ONCE,
    OK,
    Answer,
    RunOrder,
    RunResult,
    Vm,
    VmHost,
    VmSpec,
    Wear,
    answer_nothing,
)
from device_agent.vm.machine import Hub, raise_if_not_made
from device_agent.vm.planner import Planner
from device_agent.vm.process_vm import ProcessHub
from device_agent.vm.scheduler import Scheduler
from device_agent.vm.settings import VmSettings
from device_agent.vm.turns import (
    Bounds,
    Closed,
    Happening,
    LetGo,
    Ran,
    Refusal,
    Retired,
    Start,
    Submitted,
    TimePassed,
    TurnAway,
    Withdrawn,
)

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Numbers for metrics and tests: the first four of this pool, the others of the process."""

    vms: int
    idle: int
    waiting: int
    memory_bytes: int
    created_total: int
    killed_total: int
    quarantined: int
    quarantined_total: int


class Pool[V: Vm](ABC):
    """A VmPool of one kind of VM."""

    def __init__(
        self,
        settings: VmSettings | None = None,
        clock: Clock | None = None,
        costs: Path | None = None,
    ) -> None:
        """Makes no VM yet.

        Args:
            settings: Limits.
            clock: For deadlines and turns.
            costs: The file of what the engine's kernels cost on this machine; see Planner.
        """
        self._settings = settings or VmSettings()
        self._clock = clock or SystemClock()
        self._scheduler = Scheduler(_bounds(self._settings))
        self._host: VmHost[V] | None = None
        self._planner = Planner(self._make_planner, self._settings, costs)
        self._tickets = itertools.count(1)
        self._turns: dict[int, asyncio.Future[Start]] = {}
        self._vms: dict[int, V] = {}
        self._alive: dict[V, str] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0

    async def run(
        self,
        spec: VmSpec,
        event: bytes,
        *,
        order: RunOrder = AT_ONCE,
        on_start: Callable[[], None] | None = None,
        answer: Answer = answer_nothing,
    ) -> RunResult:
        """Runs one event in a VM of `spec.key`; see VmPool.run."""
        ticket = next(self._tickets)
        start = await self._turn(self._submitted(ticket, spec, order))
        began_ns = self._clock.monotonic_ns()
        try:
            if on_start is not None:
                on_start()
            result = await self._load(start, spec) if start.new else None
            if result is None or result.outcome == OK:
                result = await self._vms[start.vm].call(event, answer)
            return result
        finally:
            self._step(self._ran(ticket, start, self._clock.monotonic_ns() - began_ns))

    async def retire(self, key: str) -> None:
        """Lets the key's running events finish, then ends its VMs; see VmPool.retire."""
        self._step(Retired(key=key))
        ending = [vm for vm, its_key in self._alive.items() if its_key == key]
        longest_ms = max((vm.spec.limits.wall_ms for vm in ending), default=0)
        await _wait_ended(ending, self._settings.load_ms + longest_ms + self._settings.ended_ms)

    async def close(self) -> None:
        """Ends every VM; see VmPool.close."""
        self._step(Closed())
        if not await _wait_ended(self._alive, self._settings.close_ms):
            for vm in self._alive:
                vm.cancel_all()
            await _wait_ended(self._alive, self._settings.ended_ms)
        await self._planner.close()
        if self._host is not None:
            self._host.close()
            self._host = None

    def vms(self) -> list[V]:
        """The VMs that are alive, for tools that look into them."""
        return list(self._alive)

    def stats(self) -> PoolStats:
        """Numbers of this moment."""
        counters = _host.counters()
        return PoolStats(
            vms=self._scheduler.vms,
            idle=self._scheduler.idle,
            waiting=self._scheduler.waiting,
            memory_bytes=self._scheduler.memory_bytes,
            created_total=counters["created"],
            killed_total=counters["killed"],
            quarantined=counters["quarantined_now"],
            quarantined_total=counters["quarantined"],
        )

    def wear(self) -> Wear:
        """What VMs have cost this process for good; see VmPool.wear."""
        counters = _host.counters()
        return Wear(left_behind=counters["quarantined_now"], left_bytes=counters["left_bytes"])

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000

    def _submitted(self, ticket: int, spec: VmSpec, order: RunOrder) -> Submitted:
        within_ms = order.within_ms
        return Submitted(
            ticket=ticket,
            key=spec.key,
            concurrency=spec.concurrency,
            memory_bytes=(spec.limits.memory_mib + spec.limits.engine_mib) * MIB,
            priority=order.priority,
            deadline_ms=None if within_ms is None else self._now_ms() + within_ms,
            alone=order.alone,
            fresh=spec.fresh,
        )

    def _ran(self, ticket: int, start: Start, ran_ns: int) -> Ran:
        vm, ran_us = self._vms.get(start.vm), ran_ns // 1_000
        if vm is None:  # it was never made
            return Ran(ticket=ticket, ran_us=ran_us, used_bytes=0, spent=True)
        return Ran(ticket=ticket, ran_us=ran_us, used_bytes=vm.used_bytes, spent=vm.spent)

    async def _turn(self, submitted: Submitted) -> Start:
        ticket = submitted.ticket
        turn: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._turns[ticket] = turn
        self._step(submitted)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._step(self._ran(ticket, turn.result(), 0))
            else:
                self._step(Withdrawn(ticket=ticket))
            raise
        finally:
            self._turns.pop(ticket, None)

    async def _load(self, start: Start, spec: VmSpec) -> RunResult:
        if self._host is None:
            self._host = self._open_host()
        vm = self._host.create(
            spec,
            load_ms=self._settings.load_ms,
            on_ended=self._forget,
            plan=self._planner.plan,
        )
        self._vms[start.vm] = vm
        self._alive[vm] = spec.key
        try:
            result = await vm.ready
        except asyncio.CancelledError:
            vm.cancel_all()
            raise
        raise_if_not_made(spec.key, result)
        return result

    @abstractmethod
    def _open_host(self) -> VmHost[V]:
        """What makes the VMs."""

    def _make_planner(self, spec: VmSpec) -> V:
        assert self._host is not None, "only a VM of this host asks for plans"
        return self._host.create(spec, load_ms=self._settings.load_ms, on_ended=lambda _: None)

    def _step(self, happening: Happening) -> None:
        for effect in self._scheduler.step(self._now_ms(), happening):
            match effect:
                case Start():
                    self._turns[effect.ticket].set_result(effect)
                case TurnAway():
                    self._turn_away(effect)
                case LetGo():
                    self._let_go(effect.vm)
        self._set_timer()

    def _turn_away(self, effect: TurnAway) -> None:
        turn = self._turns.get(effect.ticket)
        if turn is not None and not turn.done():
            turn.set_exception(self._error(effect.why))

    def _error(self, why: Refusal) -> VmError:
        settings = self._settings
        match why:
            case Refusal.QUEUE_FULL:
                wait = f"{settings.queue_events_max} events wait for a VM already"
                return VmQueueFull(f"{wait}; try again later")
            case Refusal.TASK_QUEUE_FULL:
                wait = f"{settings.task_queue_events_max} events of this task wait already"
                return VmTaskQueueFull(f"{wait}; try again later")
            case Refusal.DEADLINE_PASSED:
                return VmDeadlinePassed("the event did not begin in its time; it is not run")
            case Refusal.RETIRED:
                return VmRetired("the task's version was retired; run the event in the new one")
            case Refusal.CLOSED:
                return VmClosed("the pool is closed")

    def _let_go(self, number: int) -> None:
        vm = self._vms.pop(number, None)
        if vm is not None:
            vm.close()

    def _set_timer(self) -> None:
        """One timer for the earliest deadline; it is moved only when that comes nearer or passes."""
        deadline_ms = self._scheduler.next_deadline_ms()
        if self._timer is not None and deadline_ms != self._timer_ms:
            self._timer.cancel()
            self._timer = None
        if deadline_ms is not None and self._timer is None:
            self._timer_ms = deadline_ms
            delay_s = max(deadline_ms - self._now_ms(), 1) / 1000
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._time_passed)

    def _time_passed(self) -> None:
        self._timer = None
        self._step(TimePassed())

    def _forget(self, vm: V) -> None:
        self._alive.pop(vm, None)


class InterpreterPool(Pool[Vm]):
    """A VmPool of interpreters in this process; `process.install()` must have been called."""

    def _open_host(self) -> VmHost[Vm]:
        return Hub(self._settings)


class ProcessPool(Pool[Vm]):
    """A VmPool of processes: where interpreters misbehave, as the reference in tests, and as the peer in benchmarks."""

    def _open_host(self) -> VmHost[Vm]:
        return ProcessHub()


def _bounds(settings: VmSettings) -> Bounds:
    return Bounds(
        vms_max=settings.vms_max,
        memory_bytes_max=settings.vms_memory_mib_max * MIB,
        runs_parallel_max=settings.runs_parallel_max,
        queue_events_max=settings.queue_events_max,
        task_queue_events_max=settings.task_queue_events_max,
        background_wait_ms_max=settings.background_wait_ms_max,
    )


async def _wait_ended(vms: Iterable[Vm], timeout_ms: int) -> bool:
    ending = [vm.ended for vm in vms if not vm.left_behind]
    if not ending:
        return True
    _, left = await asyncio.wait(ending, timeout=timeout_ms / 1000)
    return not left
