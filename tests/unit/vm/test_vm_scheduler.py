"""The scheduler against a slow model that says in a few plain lines who is next, and what may never happen."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device_agent.vm.scheduler import MEAN_WEIGHT, Scheduler
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
    TimePassed,
    TurnAway,
    Withdrawn,
)

KEYS = ("a", "b", "c", "d")
CONCURRENCY = {"a": 1, "b": 2, "c": 1, "d": 3}
MEMORY = {"a": 10, "b": 30, "c": 100, "d": 25}
FRESH = {"d"}
AGE_MS = 50
BURSTS = 60


def bounds(
    *,
    vms: int = 3,
    memory: int = 100,
    runs: int = 2,
    queue: int = 6,
    task_queue: int = 4,
) -> Bounds:
    return Bounds(
        vms_max=vms,
        memory_bytes_max=memory,
        runs_parallel_max=runs,
        queue_events_max=queue,
        task_queue_events_max=task_queue,
        background_wait_ms_max=AGE_MS,
    )


@dataclass
class ModelVm:
    key: str
    generation: int
    memory: int
    idle_since: int | None = None  # number of the run after which it became idle


@dataclass
class SlowModel:
    """Follows the effects and checks each against lists that it searches from end to end."""

    bounds: Bounds
    waiting: list[tuple[Submitted, int]] = field(default_factory=list)
    running: dict[int, tuple[Submitted, int, float]] = field(default_factory=dict)
    vms: dict[int, ModelVm] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)  # VMs that must be let go at once
    generation: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    used: dict[str, float] = field(default_factory=dict)
    mean: dict[str, float] = field(default_factory=dict)
    virtual: float = 0.0
    runs: int = 0
    closed: bool = False
    began: list[Submitted] = field(default_factory=list)
    turned_away: dict[int, Refusal] = field(default_factory=dict)
    last_runs: dict[str, int] = field(default_factory=dict)

    def rank(self, now: int, event: Submitted, since: int) -> int:
        return 0 if now - since >= AGE_MS else int(event.priority)

    def active(self, key: str) -> int:
        generation = self.generation[key]
        return sum(
            event.key == key and self.vms[vm].generation == generation
            for event, vm, _ in self.running.values()
        )

    def next(self, now: int) -> Submitted | None:
        """Whose turn it is: per task the first in line, between tasks the least used time."""
        firsts = []
        for key in KEYS:
            line = [
                (self.rank(now, event, since), event.ticket, event)
                for event, since in self.waiting
                if event.key == key
                and event.ticket
                == min(
                    e.ticket
                    for e, _ in self.waiting
                    if (e.key, e.priority) == (key, event.priority)
                )
            ]
            if line and self.active(key) < CONCURRENCY[key]:
                rank, ticket, event = min(line, key=lambda one: one[:2])
                firsts.append((rank, max(self.used.get(key, 0.0), self.virtual), ticket, event))
        return min(firsts, key=lambda one: one[:3])[3] if firsts else None

    def memory(self) -> int:
        return sum(vm.memory for vm in self.vms.values())

    def could_start(self, event: Submitted) -> bool:
        if len(self.running) >= self.bounds.runs_parallel_max:
            return False
        if any(one.alone for one, _, _ in self.running.values()) or (event.alone and self.running):
            return False
        busy = [vm for vm in self.vms.values() if vm.idle_since is None]
        charge = min(event.memory_bytes, self.bounds.memory_bytes_max)
        return len(busy) < self.bounds.vms_max and (
            sum(vm.memory for vm in busy) + charge <= self.bounds.memory_bytes_max
        )

    def idle(self) -> list[ModelVm]:
        found = [vm for vm in self.vms.values() if vm.idle_since is not None]
        return sorted(found, key=lambda vm: vm.idle_since or 0)

    def follow(self, now: int, effects: list[Effect]) -> None:
        for at, effect in enumerate(effects):
            if isinstance(effect, Start):
                self.follow_start(now, effect)
            elif isinstance(effect, LetGo):
                # Room is made for a run in an idle VM, too: that one does not go.
                self.follow_let_go(
                    effect, {one.vm for one in effects[at:] if isinstance(one, Start)}
                )
            else:
                self.follow_turn_away(effect)
        assert not self.ended, "a VM that is of no use was kept"
        left = self.next(now)
        assert left is None or not self.could_start(left), f"{left} waits though it could run"

    def follow_start(self, now: int, effect: Start) -> None:
        expected = self.next(now)
        assert expected is not None
        assert expected.ticket == effect.ticket, f"it is the turn of {expected}"
        assert self.could_start(expected)
        key = expected.key
        if effect.new:
            assert effect.vm not in self.vms
            self.vms[effect.vm] = ModelVm(key, self.generation[key], 0)
        vm = self.vms[effect.vm]
        assert (vm.key, vm.generation) == (key, self.generation[key])
        vm.idle_since, vm.memory = None, min(expected.memory_bytes, self.bounds.memory_bytes_max)
        self.waiting = [one for one in self.waiting if one[0] is not expected]
        mean = self.mean.get(key, 1.0)
        start = max(self.used.get(key, 0.0), self.virtual)
        self.virtual, self.used[key] = start, start + mean
        self.running[effect.ticket] = (expected, effect.vm, mean)
        self.began.append(expected)

    def follow_let_go(self, effect: LetGo, needed: set[int]) -> None:
        if effect.vm in self.ended:
            self.ended.remove(effect.vm)
            return
        vm = self.vms.pop(effect.vm)
        assert vm.idle_since is not None, "a VM that runs was let go"
        if vm.generation == self.generation[vm.key] and not self.closed:
            ages: dict[str, int] = {}
            for one in [vm, *[self.vms[n] for n in self.vms if n not in needed]]:
                if one.idle_since is None:
                    continue
                ages[one.key] = max(ages.get(one.key, 0), self.last_run(one.key))
            assert self.last_run(vm.key) == min(ages.values()), "not the longest ago"

    def last_run(self, key: str) -> int:
        return self.last_runs.get(key, 0)

    def follow_turn_away(self, effect: TurnAway) -> None:
        assert effect.ticket not in self.turned_away
        self.turned_away[effect.ticket] = effect.why
        self.waiting = [one for one in self.waiting if one[0].ticket != effect.ticket]


class SchedulerMachine(RuleBasedStateMachine):
    """Random events, refusals computed before, effects followed after."""

    @initialize(vms=st.integers(1, 4), memory=st.integers(30, 200), runs=st.integers(1, 3))
    def begin(self, vms: int, memory: int, runs: int) -> None:
        self.bounds = bounds(vms=vms, memory=memory, runs=runs)
        self.scheduler = Scheduler(self.bounds)
        self.model = SlowModel(self.bounds)
        self.now = 1_000
        self.tickets = 0

    def step(self, happening: Happening) -> list[Effect]:
        effects = self.scheduler.step(self.now, happening)
        self.model.follow(self.now, effects)
        return effects

    @rule(
        key=st.sampled_from(KEYS),
        priority=st.sampled_from(Priority),
        deadline=st.none() | st.integers(-5, 80),
        alone=st.integers(0, 5),
    )
    def submit(self, key: str, priority: Priority, deadline: int | None, alone: int) -> None:
        self.tickets += 1
        event = Submitted(
            ticket=self.tickets,
            key=key,
            concurrency=CONCURRENCY[key],
            memory_bytes=MEMORY[key],
            priority=priority,
            deadline_ms=None if deadline is None else self.now + deadline,
            alone=alone == 0,
            fresh=key in FRESH,
        )
        model, waits = self.model, len(self.model.waiting)
        of_task = sum(one.key == key for one, _ in model.waiting)
        known = (
            of_task
            or model.active(key)
            or any(
                vm.key == key and vm.generation == model.generation[key]
                for vm in model.vms.values()
            )
        )
        if not known:
            model.used[key], model.mean[key] = model.virtual, 1.0
            model.last_runs[key] = 0
        expected = None
        if model.closed:
            expected = Refusal.CLOSED
        elif deadline is not None and deadline <= 0:
            expected = Refusal.DEADLINE_PASSED
        elif waits >= self.bounds.queue_events_max:
            expected = Refusal.QUEUE_FULL
        elif of_task >= self.bounds.task_queue_events_max:
            expected = Refusal.TASK_QUEUE_FULL
        else:
            model.waiting.append((event, self.now))
        self.step(event)
        if expected is not None:
            assert model.turned_away[event.ticket] is expected
        else:
            assert event.ticket not in model.turned_away

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), ran=st.integers(0, 500), used=st.integers(1, 40), spent=st.booleans())
    def end_run(self, data: st.DataObject, ran: int, used: int, spent: bool) -> None:
        self.finish(data.draw(st.sampled_from(sorted(self.model.running))), ran, used, spent)

    def finish(self, ticket: int, ran: int, used: int, spent: bool) -> None:
        model = self.model
        event, number, charged = model.running.pop(ticket)
        vm, cost = model.vms[number], max(float(ran), 1.0)
        current = vm.generation == model.generation[event.key]
        if current:
            model.used[event.key] += cost - charged
            model.mean[event.key] = model.mean.get(event.key, 1.0) + MEAN_WEIGHT * (
                cost - model.mean.get(event.key, 1.0)
            )
        model.runs += 1
        if spent or not current or event.fresh or model.closed:
            del model.vms[number]
            model.ended.add(number)
        else:
            vm.memory, vm.idle_since = used, model.runs
            model.last_runs[event.key] = model.runs
        self.step(Ran(ticket=ticket, ran_us=ran, used_bytes=used, spent=spent))

    @precondition(lambda self: self.model.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from([one.ticket for one, _ in self.model.waiting]))
        self.model.waiting = [one for one in self.model.waiting if one[0].ticket != ticket]
        self.step(Withdrawn(ticket=ticket))

    @rule(ticket=st.integers(1_000, 2_000))
    def withdraw_what_is_over(self, ticket: int) -> None:
        assert self.step(Withdrawn(ticket=ticket)) == []

    @rule(key=st.sampled_from(KEYS))
    def retire(self, key: str) -> None:
        of_task = {one.ticket for one, _ in self.model.waiting if one.key == key}
        self.model.generation[key] += 1
        self.step(Retired(key=key))
        assert {self.model.turned_away.get(ticket) for ticket in of_task} <= {Refusal.RETIRED}
        assert not [vm for vm in self.model.idle() if vm.key == key]

    @rule(ms=st.integers(1, 70))
    def time_passes(self, ms: int) -> None:
        self.now += ms
        late = {
            one.ticket
            for one, _ in self.model.waiting
            if one.deadline_ms is not None and one.deadline_ms <= self.now
        }
        self.step(TimePassed())
        assert {self.model.turned_away.get(ticket) for ticket in late} <= {Refusal.DEADLINE_PASSED}
        assert not [
            one for one, _ in self.model.waiting if one.deadline_ms and one.deadline_ms <= self.now
        ]

    @precondition(lambda self: self.tickets > 8)
    @rule()
    def close(self) -> None:
        self.model.closed = True
        for key in KEYS:
            self.model.generation[key] += 1
        self.step(Closed())
        assert not self.model.waiting
        assert not self.model.idle()

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "model"):
            return
        model = self.model
        assert len(model.running) <= self.bounds.runs_parallel_max
        assert len(model.vms) <= self.bounds.vms_max
        assert model.memory() <= self.bounds.memory_bytes_max
        assert len(model.waiting) <= self.bounds.queue_events_max
        counts = (self.scheduler.vms, self.scheduler.waiting, self.scheduler.memory_bytes)
        assert counts == (len(model.vms), len(model.waiting), model.memory())
        assert self.scheduler.idle == len(model.idle())
        deadlines = [one.deadline_ms for one, _ in model.waiting if one.deadline_ms is not None]
        assert self.scheduler.next_deadline_ms() == min(deadlines, default=None)

    def teardown(self) -> None:
        """What waits gets its turn, in order of arrival within a task and a priority."""
        if not hasattr(self, "model"):
            return
        while self.model.running:
            self.finish(min(self.model.running), 10, 5, spent=False)
        assert not self.model.waiting
        for key in KEYS:
            for priority in Priority:
                began = [
                    one.ticket
                    for one in self.model.began
                    if (one.key, one.priority) == (key, priority)
                ]
                assert began == sorted(began)


SchedulerMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
TestScheduler = pytest.mark.slow(SchedulerMachine.TestCase)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bcd"), st.integers(1, 400)), min_size=30, max_size=60))
def test_a_background_event_is_next_once_it_has_waited_whatever_comes(
    crowd: list[tuple[str, int]],
) -> None:
    scheduler = Scheduler(bounds(runs=1, queue=1_000, task_queue=1_000))
    running = _started(scheduler.step(0, Submitted(ticket=1, key="b")))
    scheduler.step(0, Submitted(ticket=2, key="a", priority=Priority.BACKGROUND))
    for number, (key, ran_us) in enumerate(crowd):
        now = number * 5
        scheduler.step(now, Submitted(ticket=10 + number, key=key))
        effects = scheduler.step(now, Ran(ticket=running, ran_us=ran_us, used_bytes=1, spent=False))
        running = _started(effects)
        if running == 2:
            assert now >= AGE_MS
            return
        assert now < AGE_MS + 5, "a background event starves"
    raise AssertionError("it never ran")


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1_000), st.integers(1, 1_000), st.integers(1, 5), st.integers(1, 5))
def test_two_busy_tasks_get_the_same_time_whatever_their_runs_cost(
    cost_a: int, cost_b: int, burst_a: int, burst_b: int
) -> None:
    scheduler = Scheduler(bounds(runs=1, queue=10_000, task_queue=10_000))
    costs, got = {"a": cost_a, "b": cost_b}, {"a": 0, "b": 0}
    keys: dict[int, str] = {}
    running: list[int] = []
    ticket = 0
    for _ in range(BURSTS):
        for key in "a" * burst_a + "b" * burst_b:
            ticket += 1
            keys[ticket] = key
            running += _starts(scheduler.step(0, Submitted(ticket=ticket, key=key)))
    for _ in range(BURSTS):
        ended = running.pop()
        got[keys[ended]] += costs[keys[ended]]
        ran = Ran(ticket=ended, ran_us=costs[keys[ended]], used_bytes=1, spent=False)
        running += _starts(scheduler.step(0, ran))
    # A run's cost is known when it ends, so the first one may be unfair by itself.
    if all(value < costs[key] * BURSTS * min(burst_a, burst_b) for key, value in got.items()):
        assert abs(got["a"] - got["b"]) <= 2 * (cost_a + cost_b)


def test_deadlines_of_what_has_started_do_not_pile_up() -> None:
    scheduler = Scheduler(bounds(queue=4))
    for ticket in range(1, 200):
        assert _starts(scheduler.step(0, Submitted(ticket=ticket, key="a", deadline_ms=10**9)))
        scheduler.step(0, Ran(ticket=ticket, ran_us=1, used_bytes=1, spent=False))
    assert len(scheduler._deadlines) <= 2 * 4 + 1


@pytest.mark.parametrize("alone_first", [True, False])
def test_alone_means_beside_nothing_and_does_not_starve(alone_first: bool) -> None:
    scheduler = Scheduler(bounds(runs=3))
    for ticket in (1, 2, 3):
        alone = ticket == (1 if alone_first else 2)
        scheduler.step(0, Submitted(ticket=ticket, key="abc"[ticket - 1], alone=alone))
    effects = scheduler.step(1, Ran(ticket=1, ran_us=1, used_bytes=1, spent=False))
    assert _starts(effects) == ([2, 3] if alone_first else [2])


def test_a_run_that_wants_more_than_there_is_gets_all_of_it() -> None:
    scheduler = Scheduler(bounds(memory=100))
    assert _starts(scheduler.step(0, Submitted(ticket=1, key="a", memory_bytes=10)))
    assert not _starts(scheduler.step(0, Submitted(ticket=2, key="b", memory_bytes=10_000)))
    assert not _starts(scheduler.step(0, Submitted(ticket=3, key="c", memory_bytes=10)))
    effects = scheduler.step(0, Ran(ticket=1, ran_us=1, used_bytes=5, spent=False))
    assert effects == [LetGo(vm=1), Start(ticket=2, vm=2, new=True)]


def _starts(effects: list[Effect]) -> list[int]:
    return [effect.ticket for effect in effects if isinstance(effect, Start)]


def _started(effects: list[Effect]) -> int:
    (ticket,) = _starts(effects)
    return ticket


def test_the_model_can_fail() -> None:
    """The slow model notices an order that is not the scheduler's."""
    model = SlowModel(bounds())
    for ticket in (1, 2):
        model.waiting.append((Submitted(ticket=ticket, key="a"), 0))
    with pytest.raises(AssertionError, match="the turn of"):
        model.follow(0, [Start(ticket=2, vm=1, new=True)])
