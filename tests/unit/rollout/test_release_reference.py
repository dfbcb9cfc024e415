"""The release machine against a slow model of a whole fleet, written from what a release promises.

The model knows devices, not counts: each has a place below a million and an outcome. It keeps sets, divides with
fractions and walks the fleet anew for every question. The machine is told counts and must agree on all that people and
devices see: where the release stands, whom it reaches, where a rollback leads, and when a stage goes on.

Acknowledgements come late, twice and out of order; devices join and leave; the clock jumps both ways.
"""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cloud.rollout.errors import CommandNotAllowed
from cloud.rollout.machine import (
    Command,
    Commanded,
    Counted,
    Counts,
    Created,
    Event,
    LogEntry,
    PublishReleaseSet,
    Restored,
    Stage,
    Superseded,
    TimePassed,
    initial,
    replay,
    step,
)
from cloud.rollout.outcomes import DeviceRow, fold

MILLION = 1_000_000
PLACES = st.integers(0, MILLION - 1)
PROMOTE = st.sampled_from([0, 1, 333_333, 500_000, 900_000, MILLION])
# What each word of an operator does to a release that is ..., and what it becomes.
MOVES = {
    ("draft", "start"): "running",
    ("draft", "abort"): "aborted",
    ("running", "pause"): "paused",
    ("running", "abort"): "aborted",
    ("running", "roll_back"): "rolled_back",
    ("paused", "resume"): "running",
    ("paused", "abort"): "aborted",
    ("paused", "roll_back"): "rolled_back",
    ("completed", "roll_back"): "rolled_back",
    ("aborted", "roll_back"): "rolled_back",
}


class Fleet:
    """The slow model: one release and its devices."""

    def __init__(self, stages: list[tuple[int, int]], back_to: int) -> None:
        self.stages = stages
        self.back_to = back_to
        self.state = "draft"
        self.out = 0  # stages that are out
        self.hidden = ""  # the state under a supersession
        self.places: dict[int, int] = {}
        self.holds: dict[int, str] = {}

    def reached(self) -> set[int]:
        share = self.stages[self.out - 1][0] if self.out else 0
        return {device for device, place in self.places.items() if place < share}

    def command(self, word: str, back_to: int | None) -> bool:
        """Whether it is allowed; does it then."""
        if word == "promote" and self.state == "running":
            self.go_on()
            return True
        became = MOVES.get((self.state, word))
        if became is None:
            return False
        self.state = became
        if word == "start":
            self.out = 1
        if word == "roll_back" and back_to is not None:
            self.back_to = back_to
        return True

    def go_on(self) -> None:
        if self.out == len(self.stages):
            self.state = "completed"
        else:
            self.out += 1

    def look(self) -> None:
        """Goes on as long as enough devices of the stage have it."""
        while self.state == "running":
            wanted = Fraction(self.stages[self.out - 1][1], MILLION)
            reached = self.reached()
            done = sum(self.holds.get(device) == "installed" for device in reached)
            if not wanted or not reached or Fraction(done, len(reached)) < wanted:
                return
            self.go_on()

    def counts(self) -> list[Counts]:
        """By the stage that a device joins with."""
        rows, below = [], 0
        for share, _ in self.stages:
            mine = [device for device, place in self.places.items() if below <= place < share]
            told = [self.holds[device] for device in mine if device in self.holds]
            rows.append(
                Counts(
                    targeted=len(mine),
                    notified=len(told),
                    installed=told.count("installed"),
                    failed=told.count("failed"),
                )
            )
            below = share
        return rows


class ReleaseAgainstFleet(RuleBasedStateMachine):
    """Tells both the same story."""

    @initialize(
        shares=st.sets(st.integers(1, MILLION), min_size=1, max_size=4),
        promote=st.lists(PROMOTE, min_size=4, max_size=4),
        back_to=st.integers(0, 3),
        places=st.lists(PLACES, max_size=8),
    )
    def begin(self, shares: set[int], promote: list[int], back_to: int, places: list[int]) -> None:
        drawn = list(zip(sorted(shares), promote, strict=False))
        stages = tuple(Stage(share_ppm=share, promote_at_ppm=at) for share, at in drawn)
        self.fleet = Fleet(drawn, back_to)
        self.fleet.places = dict(enumerate(places))
        self.state = initial(stages, back_to)
        self.log: list[tuple[int, LogEntry]] = [
            (1, Created(stages=stages, rollback_version=back_to))
        ]
        self.rows: dict[int, DeviceRow] = {}
        self.sent: list[tuple[int, str]] = []
        self.seen: set[int] = set()
        self.next_id = len(places)
        self.now_ms = 1

    def happen(self, event: Event) -> bool:
        """Gives whether devices may have to hear of it."""
        self.state, effects = step(self.state, self.now_ms, event)
        self.log.append((self.now_ms, event))
        return any(isinstance(effect, PublishReleaseSet) for effect in effects)

    @rule(to_ms=st.integers(0, 1 << 45))
    def the_clock_jumps(self, to_ms: int) -> None:
        self.now_ms = to_ms

    @rule(word=st.sampled_from(Command), back_to=st.none() | st.integers(0, 3))
    def an_operator_says(self, word: Command, back_to: int | None) -> None:
        event = Commanded(command=word, rollback_version=back_to)
        before = (self.fleet.state, self.fleet.out)
        if self.fleet.command(str(word), back_to):
            told = self.happen(event)
            assert told or before == ("draft", 0) == (before[0], self.fleet.out)
        else:
            with pytest.raises(CommandNotAllowed):
                step(self.state, self.now_ms, event)

    @rule(place=PLACES)
    def a_device_joins(self, place: int) -> None:
        self.fleet.places[self.next_id] = place
        self.next_id += 1

    @precondition(lambda self: self.fleet.places)
    @rule(data=st.data())
    def a_device_leaves(self, data: st.DataObject) -> None:
        device = data.draw(st.sampled_from(sorted(self.fleet.places)))
        del self.fleet.places[device]
        self.fleet.holds.pop(device, None)
        self.seen.discard(device)

    @precondition(lambda self: self.fleet.places)
    @rule(data=st.data(), outcome=st.sampled_from(["notified", "installed", "failed"]))
    def a_device_acknowledges(self, data: st.DataObject, outcome: str) -> None:
        device = data.draw(st.sampled_from(sorted(self.fleet.places)))
        self.sent.append((device, outcome))
        self.arrive(device, outcome)

    @rule(share=st.sampled_from([Fraction(1, 3), Fraction(1, 2), Fraction(1)]))
    def many_that_are_reached_install(self, share: Fraction) -> None:
        reached = sorted(self.fleet.reached())
        for device in reached[: round(len(reached) * share)]:
            self.arrive(device, "installed")

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def an_acknowledgement_comes_again(self, data: st.DataObject) -> None:
        device, outcome = data.draw(st.sampled_from(self.sent))
        if device in self.fleet.places:
            self.arrive(device, outcome)

    def arrive(self, device: int, outcome: str) -> None:
        """What is installed stays so; a failure is only undone by success."""
        strength = ["notified", "failed", "installed"]
        held = self.fleet.holds.get(device, "notified")
        self.fleet.holds[device] = max(held, outcome, key=strength.index)
        row = fold(self.rows.get(device), outcome, "", self.now_ms)
        assert row is not None
        self.rows[device] = row

    @rule()
    def the_fleet_is_counted(self) -> None:
        rows = self.fleet.counts()
        increments = tuple(new - old for new, old in zip(rows, self.state.counts, strict=True))
        before = self.fleet.out, self.fleet.state
        self.fleet.look()
        told = self.happen(Counted(increments=increments))
        assert told is ((self.fleet.out, self.fleet.state) != before)
        assert self.state.counts == tuple(rows)

    @rule(twice=st.booleans())
    def a_newer_release_completes(self, twice: bool) -> None:
        if self.fleet.state not in ("draft", "superseded"):
            self.fleet.hidden, self.fleet.state = self.fleet.state, "superseded"
        for by in ["newer", "newest"][: 1 + twice]:
            self.happen(Superseded(by=by))

    @rule(twice=st.booleans())
    def the_newer_release_is_rolled_back(self, twice: bool) -> None:
        if self.fleet.state == "superseded":
            self.fleet.state, self.fleet.hidden = self.fleet.hidden, ""
        for _ in range(1 + twice):
            self.happen(Restored())

    @invariant()
    def they_agree(self) -> None:
        assert str(self.state.phase) == self.fleet.state
        assert self.state.stage_index == self.fleet.out - 1
        assert self.state.rollback_version == self.fleet.back_to
        reached = {
            device for device, place in self.fleet.places.items() if place < self.state.share_ppm
        }
        assert reached == self.fleet.reached()
        assert reached >= self.seen, "who was reached stays reached"
        self.seen = reached
        for device, outcome in self.fleet.holds.items():
            assert self.rows[device].outcome == outcome

    @invariant()
    def the_log_tells_the_whole_story(self) -> None:
        assert replay(self.log) == self.state

    @invariant()
    def what_was_counted_is_not_counted_again(self) -> None:
        nothing = Counted(increments=tuple(Counts() for _ in self.state.stages))
        settled, _ = step(self.state, self.now_ms, nothing)
        for event in (nothing, TimePassed()):
            assert step(settled, self.now_ms, event) == (settled, ())


ReleaseAgainstFleet.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestReleaseAgainstFleet = pytest.mark.slow(ReleaseAgainstFleet.TestCase)
