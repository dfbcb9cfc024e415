"""Decides which event runs next, and in which VM: a pure machine, event in, effects out, the time passed in.

Rules of this module:

- Nothing here waits, reads a clock or touches a VM: `Pool` carries the effects out and tells what came of them.
- One VM serves one task version. A task runs at most `concurrency` events at once, the process `runs_parallel_max`; it
  keeps at most `vms_max` VMs and `memory_bytes_max` of their memory. A running VM counts with its limit, an idle one
  with what it holds. What needs room takes it from the idle VM of the task whose last run is longest ago.
- Interactive before background; a background event that has waited `background_wait_ms_max` is no longer put behind.
- Between tasks of equal rank the turn goes by the time their runs have used (start-time fair queueing, Goyal et al.
  1996; a run is charged with the task's mean until its time is known). Within a task and a priority, order of arrival.
- Whose turn it is waits for what all share (places, memory, runs), and nobody overtakes it: so nobody starves. Waiting
  for one's own concurrency holds up nobody else.
- A task that is retired finishes what runs in its old VMs and turns away what waits; used again, it starts afresh.
- Whose turn it is, is looked for among the tasks that have something waiting, not among their events.
- A VM that is let go is not counted any more, though its thread may take a moment to end.
"""

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from device_agent.vm.turns import (
    Bounds,
    Closed,
    Effect,
    Happening,
    LetGo,
    Priority,
    Ran,
    Refusal,
    Retired,
    Start,
    Submitted,
    TurnAway,
    Withdrawn,
)

MEAN_WEIGHT = 0.2  # of the newest run in a task's mean
COST_US_MIN = 1.0  # even a run that took no time is a turn


@dataclass(slots=True, eq=False)
class _Waiting:
    event: Submitted
    since_ms: int


@dataclass(slots=True, eq=False)
class _Vm:
    number: int
    task: "_Task"
    memory_bytes: int


@dataclass(slots=True, eq=False)
class _Running:
    vm: _Vm
    event: Submitted
    charged_us: float


@dataclass(slots=True, eq=False)
class _Task:
    """One task version; it outlives its entry in the machine while a retired VM still runs."""

    key: str
    lines: tuple[deque[_Waiting], deque[_Waiting]] = field(
        default_factory=lambda: (deque(), deque())
    )
    idle: list[_Vm] = field(default_factory=list)
    running: int = 0
    used_us: float = 0.0
    mean_us: float = COST_US_MIN
    retired: bool = False

    def waiting(self) -> int:
        """Events in both lines."""
        return len(self.lines[0]) + len(self.lines[1])


@dataclass(frozen=True, slots=True, order=True)
class _Turn:
    """What the choice goes by: the smallest is next."""

    rank: int
    used_us: float
    ticket: int


class Scheduler:
    """The machine; `step` is its one entrance."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._tasks: OrderedDict[str, _Task] = OrderedDict()  # longest since the last run first
        self._waiting: dict[int, _Task] = {}
        self._hungry: set[_Task] = set()  # those that something waits for
        self._running: dict[int, _Running] = {}
        self._deadlines: list[tuple[int, int]] = []
        self._memory_bytes = 0
        self._vms = 0
        self._vm_last = 0
        self._virtual_us = 0.0
        self._alone = False
        self._closed = False

    @property
    def vms(self) -> int:
        """VMs that are kept, idle and running."""
        return self._vms

    @property
    def idle(self) -> int:
        """VMs that run nothing."""
        return sum(len(task.idle) for task in self._tasks.values())

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return len(self._waiting)

    @property
    def memory_bytes(self) -> int:
        """Memory that the kept VMs count with."""
        return self._memory_bytes

    def next_deadline_ms(self) -> int | None:
        """When to come again with TimePassed, if nothing else happens."""
        while self._deadlines and self._deadlines[0][1] not in self._waiting:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def step(self, now_ms: int, happening: Happening) -> list[Effect]:
        """What is to be done now, in this order."""
        effects: list[Effect] = []
        match happening:
            case Submitted():
                self._submit(now_ms, happening, effects)
            case Ran():
                self._end_run(happening, effects)
            case Withdrawn():
                self._leave_line(happening.ticket)
            case Retired():
                self._retire(happening.key, Refusal.RETIRED, effects)
            case Closed():
                self._closed = True
                for key in list(self._tasks):
                    self._retire(key, Refusal.CLOSED, effects)
        self._drop_late(now_ms, effects)
        while self._start_next(now_ms, effects):
            pass
        return effects

    def _submit(self, now_ms: int, event: Submitted, effects: list[Effect]) -> None:
        assert event.ticket not in self._waiting
        assert event.ticket not in self._running
        task = self._tasks.get(event.key)
        why = self._refusal(now_ms, event, task)
        if why is not None:
            effects.append(TurnAway(ticket=event.ticket, why=why))
            return
        if task is None:
            task = self._tasks[event.key] = _Task(event.key, used_us=self._virtual_us)
            self._tasks.move_to_end(event.key, last=False)  # it has no VM that could make room
        task.lines[event.priority].append(_Waiting(event, now_ms))
        self._waiting[event.ticket] = task
        self._hungry.add(task)
        if event.deadline_ms is not None:
            heapq.heappush(self._deadlines, (event.deadline_ms, event.ticket))
        if len(self._deadlines) > 2 * self._bounds.queue_events_max:  # most of them have started
            self._deadlines = [one for one in self._deadlines if one[1] in self._waiting]
            heapq.heapify(self._deadlines)

    def _refusal(self, now_ms: int, event: Submitted, task: _Task | None) -> Refusal | None:
        if self._closed:
            return Refusal.CLOSED
        if event.deadline_ms is not None and event.deadline_ms <= now_ms:
            return Refusal.DEADLINE_PASSED
        if len(self._waiting) >= self._bounds.queue_events_max:
            return Refusal.QUEUE_FULL
        if task is not None and task.waiting() >= self._bounds.task_queue_events_max:
            return Refusal.TASK_QUEUE_FULL
        return None

    def _leave_line(self, ticket: int) -> None:
        task = self._waiting.pop(ticket, None)
        if task is None:
            return
        for line in task.lines:
            for waiting in line:
                if waiting.event.ticket == ticket:
                    line.remove(waiting)
                    break
        self._note_hunger(task)
        self._forget_unused(task)

    def _retire(self, key: str, why: Refusal, effects: list[Effect]) -> None:
        task = self._tasks.pop(key, None)
        if task is None:
            return
        task.retired = True
        for ticket in sorted(one.event.ticket for line in task.lines for one in line):
            del self._waiting[ticket]
            effects.append(TurnAway(ticket=ticket, why=why))
        self._hungry.discard(task)
        while task.idle:
            self._let_go(task.idle[-1], effects)

    def _drop_late(self, now_ms: int, effects: list[Effect]) -> None:
        while (deadline := self.next_deadline_ms()) is not None and deadline <= now_ms:
            _, ticket = heapq.heappop(self._deadlines)
            self._leave_line(ticket)
            effects.append(TurnAway(ticket=ticket, why=Refusal.DEADLINE_PASSED))

    def _end_run(self, ran: Ran, effects: list[Effect]) -> None:
        run = self._running.pop(ran.ticket)
        task, vm = run.vm.task, run.vm
        cost_us = max(float(ran.ran_us), COST_US_MIN)
        task.used_us += cost_us - run.charged_us
        task.mean_us += MEAN_WEIGHT * (cost_us - task.mean_us)
        task.running -= 1
        self._alone = False
        if ran.spent or task.retired or run.event.fresh:
            self._vms -= 1
            self._memory_bytes -= vm.memory_bytes
            effects.append(LetGo(vm=vm.number))
        else:
            self._memory_bytes += ran.used_bytes - vm.memory_bytes
            vm.memory_bytes = ran.used_bytes
            task.idle.append(vm)
            self._tasks.move_to_end(task.key)
            self._shrink(effects)
        self._forget_unused(task)

    def _shrink(self, effects: list[Effect]) -> None:
        """An idle VM that holds more than it might (it was measured, not limited) makes the oldest go."""
        while self._memory_bytes > self._bounds.memory_bytes_max:
            oldest = self._oldest_idle(None)
            if oldest is None:
                return
            self._let_go(oldest, effects)

    def _let_go(self, vm: _Vm, effects: list[Effect]) -> None:
        vm.task.idle.remove(vm)
        self._vms -= 1
        self._memory_bytes -= vm.memory_bytes
        effects.append(LetGo(vm=vm.number))
        self._forget_unused(vm.task)

    def _note_hunger(self, task: _Task) -> None:
        if not task.waiting():
            self._hungry.discard(task)

    def _forget_unused(self, task: _Task) -> None:
        if not task.retired and not task.running and not task.idle and not task.waiting():
            self._tasks.pop(task.key, None)

    def _start_next(self, now_ms: int, effects: list[Effect]) -> bool:
        if len(self._running) >= self._bounds.runs_parallel_max:
            return False
        chosen = self._choose(now_ms)
        if chosen is None:
            return False
        task, waiting = chosen
        event = waiting.event
        if self._alone or (event.alone and self._running):
            return False
        charge_bytes = min(event.memory_bytes, self._bounds.memory_bytes_max)
        vm = None if event.fresh or not task.idle else task.idle[-1]
        if not self._make_room(vm, charge_bytes, effects):
            return False
        self._start(task, event, vm, charge_bytes, effects)
        return True

    def _choose(self, now_ms: int) -> tuple[_Task, _Waiting] | None:
        best: tuple[_Turn, _Task, _Waiting] | None = None
        for task in self._hungry:
            head = self._head(now_ms, task)
            if task.running >= head.event.concurrency:
                continue
            turn = _Turn(
                self._rank(now_ms, head), max(task.used_us, self._virtual_us), head.event.ticket
            )
            if best is None or turn < best[0]:
                best = (turn, task, head)
        return None if best is None else best[1:]

    def _head(self, now_ms: int, task: _Task) -> _Waiting:
        heads = [line[0] for line in task.lines if line]
        return min(heads, key=lambda head: (self._rank(now_ms, head), head.event.ticket))

    def _rank(self, now_ms: int, waiting: _Waiting) -> int:
        patient = now_ms - waiting.since_ms < self._bounds.background_wait_ms_max
        return int(waiting.event.priority) if patient else int(Priority.INTERACTIVE)

    def _make_room(self, vm: _Vm | None, charge_bytes: int, effects: list[Effect]) -> bool:
        """Lets idle VMs go until the run fits, or none when all of them together would not do."""
        places = self._vms + (vm is None) - self._bounds.vms_max
        held_bytes = 0 if vm is None else vm.memory_bytes
        over_bytes = self._memory_bytes - held_bytes + charge_bytes - self._bounds.memory_bytes_max
        spare = [one for task in self._tasks.values() for one in task.idle if one is not vm]
        if places > len(spare) or over_bytes > sum(one.memory_bytes for one in spare):
            return False
        while places > 0 or over_bytes > 0:
            oldest = self._oldest_idle(vm)
            assert oldest is not None
            places -= 1
            over_bytes -= oldest.memory_bytes
            self._let_go(oldest, effects)
        return True

    def _oldest_idle(self, kept: _Vm | None) -> _Vm | None:
        for task in self._tasks.values():
            for vm in task.idle:
                if vm is not kept:
                    return vm
        return None

    def _start(
        self,
        task: _Task,
        event: Submitted,
        vm: _Vm | None,
        charge_bytes: int,
        effects: list[Effect],
    ) -> None:
        new = vm is None
        if vm is None:
            self._vms += 1
            self._vm_last += 1
            vm = _Vm(self._vm_last, task, 0)
        else:
            task.idle.remove(vm)
        self._memory_bytes += charge_bytes - vm.memory_bytes
        vm.memory_bytes = charge_bytes
        task.lines[event.priority].popleft()
        del self._waiting[event.ticket]
        self._note_hunger(task)
        task.running += 1
        task.used_us = max(task.used_us, self._virtual_us)
        self._virtual_us = task.used_us
        task.used_us += task.mean_us
        self._alone = event.alone
        self._running[event.ticket] = _Running(vm, event, task.mean_us)
        effects.append(Start(ticket=event.ticket, vm=vm.number, new=new))
