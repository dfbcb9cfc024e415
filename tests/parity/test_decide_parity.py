"""The decision by change log equals a slow decision in full, over random histories of releases and devices.

The reference below is written from the rules in words, over plain lists: no plans, no fragments, no log. Tolerance:
none; every instruction of every document must be equal.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from random import Random

import pytest

from cloud.gateway.decide import Decision, Kind, decide
from cloud.gateway.release_set import ACTIVE, Release, ReleaseSet, Version
from cloud.rollout.machine import ReleaseState
from device_agent.tasks.director import Action, KillSwitch, TaskInstruction
from device_agent.tasks.manifest import Requires
from tests.helpers.release_sets import (
    TAG,
    facts,
    instructions,
    plans,
    release,
    release_set,
    request,
    row,
    version,
    view,
)

TASKS = ("a", "b")
OTHER_TAG = "cpython-314-3600"
VERSIONS = {
    (task, number): version(
        task,
        number,
        tags=(TAG,) if number == 3 else (TAG, OTHER_TAG),
        requires=Requires(guest_api=2) if number == 2 else Requires(),
    )
    for task in TASKS
    for number in (1, 2, 3)
}


@dataclasses.dataclass(slots=True)
class Device:
    """A device that believes what it is told."""

    device_id: str
    tier: str
    guest_api: int
    tag: str
    epoch: int = 0
    rows: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)

    def message(self, epoch: int) -> object:
        rows = [row(task, number, state) for task, (number, state) in self.rows.items()]
        said = facts(guest_api=self.guest_api, python_tag=self.tag, attributes={"tier": self.tier})
        return request(epoch, rows, said)


def slow_bucket(salt: str, device_id: str) -> float:
    digest = hashlib.blake2b(f"{salt}:{device_id}".encode(), digest_size=8).hexdigest()
    return int(digest, 16) / 2**64


def slow_chosen(device: Device, each: Release) -> bool:
    tier = each.targeting.attributes.get("tier", device.tier)
    chosen = slow_bucket(each.salt, device.device_id) < each.share_ppm / 1e6
    return chosen and tier == device.tier


def slow_barred(number: int, newer: list[Release]) -> bool:
    """Whether one of these releases rolled the version back."""
    return any(x.state is ReleaseState.ROLLED_BACK and x.version == number for x in newer)


def slow_bad(number: int, newest_first: list[Release]) -> bool:
    """Whether the last word on the version is that it was rolled back."""
    words = [x.state for x in newest_first if x.version == number]
    return bool(words) and words[0] is ReleaseState.ROLLED_BACK


def slow_target(
    device: Device, place: int, newest_first: list[Release], number: int, state: str
) -> int | None:
    """The version that this release wants on the device; 0 is none at all; None is no concern of it."""
    each = newest_first[place]
    wanted = None
    if each.state is ReleaseState.ROLLED_BACK:
        back = each.rollback_version
        stays = number == back != 0 and slow_chosen(device, each)
        if number == each.version or (stays and not slow_bad(back, newest_first)):
            wanted = back
    elif slow_barred(each.version, newest_first[:place]):
        wanted = None
    elif each.state in (ReleaseState.PAUSED, ReleaseState.ABORTED):
        wanted = each.version if number == each.version and state != "FAILED" else None
    elif slow_chosen(device, each):
        wanted = each.version
    fits = not wanted or slow_fit(device, each.task, wanted)
    return wanted if fits else None


def slow_choice(
    device: Device, newest_first: list[Release], number: int, state: str
) -> tuple[Release, int] | None:
    for place, each in enumerate(newest_first):
        target = slow_target(device, place, newest_first, number, state)
        if target is not None:
            return each, target
    for each in newest_first:
        stays = each.state is ReleaseState.ROLLED_BACK and each.rollback_version == number
        good = not slow_bad(number, newest_first) and slow_fit(device, each.task, number)
        if number and stays and good:
            return each, number
    return None


def slow_fit(device: Device, task: str, number: int) -> bool:
    if number == 0:
        return False
    wanted = VERSIONS[task, number]
    return device.tag in wanted.bundles and wanted.requires.guest_api <= device.guest_api


def slow_instruction(device: Device, task: str, releases: list[Release]) -> TaskInstruction | None:
    newest_first = sorted(releases, key=lambda each: each.started_at_ms, reverse=True)
    number, state = device.rows.get(task, (0, ""))
    choice = slow_choice(device, newest_first, number, state)
    for _ in range(len(newest_first) + 2):
        if not choice or choice[0].state is not ReleaseState.ROLLED_BACK or choice[1] == number:
            break
        _, number = choice
        if number == 0:
            return slow_words(device, *(slow_choice(device, newest_first, 0, "") or choice))
        choice = slow_choice(device, newest_first, number, "INSTALLED")
    else:
        choice = None  # a circle
    if choice:
        return slow_words(device, *choice)
    held = device.rows.get(task)
    return TaskInstruction(task=task, action=Action.REMOVE) if held else None


def slow_words(device: Device, each: Release, target: int) -> TaskInstruction:
    number, state = device.rows.get(each.task, (0, ""))
    if target == 0:
        return TaskInstruction(task=each.task, action=Action.REMOVE, release_id=each.release_id)
    wanted = VERSIONS[each.task, target]
    if number == target and state in ("INSTALLED", "QUARANTINED", "KILLED"):
        return TaskInstruction(
            task=each.task, action=Action.KEEP, version=target, digest=wanted.digest
        )
    back = each.state is ReleaseState.ROLLED_BACK or target < number
    return TaskInstruction(
        task=each.task,
        action=Action.ROLL_BACK if back else Action.INSTALL,
        version=target,
        digest=wanted.digest,
        release_id=each.release_id,
        files=wanted.bundles[device.tag],
    )


def slow_document(
    device: Device, releases: Mapping[str, list[Release]]
) -> dict[str, TaskInstruction]:
    told = {task: slow_instruction(device, task, releases[task]) for task in TASKS}
    return {task: one for task, one in told.items() if one is not None}


def slow_news(device: Device, document: Mapping[str, TaskInstruction]) -> bool:
    """Whether the document asks for anything that the device's rows do not already say."""
    return any(device.rows.get(task, (0, ""))[0] != one.version for task, one in document.items())


class World:
    """One namespace and four devices, changed step by step; every Sync is checked."""

    def __init__(self, changes_max: int) -> None:
        self.changes_max = changes_max
        self.releases: dict[str, list[Release]] = {task: [] for task in TASKS}
        self.order = 0
        self.set: ReleaseSet = release_set(epoch=100, floor=99)
        self.devices = [
            Device(f"{7 * place:032x}", tier, api, tag)
            for place, (tier, api, tag) in enumerate(
                [("gold", 1, TAG), ("tin", 2, TAG), ("gold", 2, OTHER_TAG), ("", 2, TAG)]
            )
        ]

    def advance(self, task: str) -> None:
        epoch = self.set.epoch + 3
        known: list[Version] = [each for key, each in VERSIONS.items() if key[0] == task]
        (plan,) = plans(self.releases[task], known)
        self.set = self.set.advanced(
            epoch=epoch,
            changes=[(epoch, task)],
            tasks=[plan],
            changes_max=self.changes_max,
        )

    def start(self, task: str, number: int, share: float, tier: str, back: int) -> None:
        self.order += 1
        attributes = {"tier": tier} if tier else {}
        self.releases[task].append(
            release(
                task,
                number,
                share=share,
                attributes=attributes,
                rollback=back if back != number else 0,
                order=self.order,
            )
        )
        self.advance(task)

    def move(self, which: int, state: ReleaseState | None, share: float) -> None:
        every = [each for task in TASKS for each in self.releases[task]]
        if not every:
            return
        chosen = every[which % len(every)]
        rest = [each for each in self.releases[chosen.task] if each is not chosen]
        if state is not None:
            share_ppm = max(chosen.share_ppm, round(share * 1e6))
            rest.append(dataclasses.replace(chosen, state=state, share_ppm=share_ppm))
        self.releases[chosen.task] = rest
        self.advance(chosen.task)

    def kill(self, switch: bool) -> None:
        self.set = self.set.advanced(epoch=self.set.epoch + 1, kill=KillSwitch(all=switch))

    def sync(self, which: int, outcome: str) -> None:
        device = self.devices[which]
        seen = view(device.message(device.epoch), device.device_id)  # type: ignore[arg-type]  # a request
        decision = decide(self.set, seen, device.epoch)
        self.check(device, decision)
        device.epoch = self.set.epoch
        if decision.kind is Kind.CHANGED:
            believe(device, instructions(decision), outcome)

    def obeys(self, which: int) -> None:
        """A device that did all that it was told is told to keep it."""
        device = self.devices[which]
        device.rows = {task: (number, "INSTALLED") for task, (number, _) in device.rows.items()}
        for _ in range(2):  # what had failed may now be told something else, once
            seen = view(device.message(0), device.device_id)  # type: ignore[arg-type]  # a request
            told = instructions(decide(self.set, seen, 0))
            believe(device, told, "INSTALLED")
        assert {one.action for one in told.values()} <= {Action.KEEP}

    def settle(self, which: int, outcome: str) -> None:
        """What was pending ends, between two Syncs."""
        rows = self.devices[which].rows
        for task, (number, state) in rows.items():
            rows[task] = (number, outcome if state == "PENDING" else state)

    def check(self, device: Device, decision: Decision) -> None:
        expected = slow_document(device, self.releases)
        if decision.kind is Kind.CHANGED:
            assert instructions(decision) == expected
        elif decision.kind is Kind.NOTHING:
            assert not slow_news(device, expected)
        else:
            assert decision.kind is Kind.SAME
            assert device.epoch == self.set.epoch
        if slow_news(device, expected):
            assert decision.kind in (Kind.CHANGED, Kind.SAME)


def believe(device: Device, told: Mapping[str, TaskInstruction], outcome: str) -> None:
    for task, one in told.items():
        if one.action is Action.REMOVE:
            device.rows.pop(task, None)
        elif one.action is not Action.KEEP:
            device.rows[task] = (one.version, outcome)


def step(world: World, random: Random) -> None:
    task, which = random.choice("aaab"), random.randrange(4)
    outcome = random.choice(["INSTALLED", "INSTALLED", "FAILED", "PENDING", "QUARANTINED"])
    name = random.choice(["start", "move", "move", "move", "sync", "sync", "settle", "kill"])
    if name == "start":
        tier = random.choice(["", "", "gold", "tin"])
        share = random.choice([0.0, 0.3, 0.7, 1.0, 1.0])
        world.start(task, random.randint(1, 3), share, tier, random.randint(0, 3))
    elif name == "move":
        state = random.choice([*sorted(ACTIVE), ReleaseState.ROLLED_BACK, None])
        world.move(random.randrange(10), state, random.choice([0.5, 1.0]))
    elif name == "kill":
        world.kill(random.random() < 0.5)
    else:
        getattr(world, name)(which, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_by_change_log_equals_in_full(seed: int) -> None:
    for history in range(150):
        random = Random(seed * 1000 + history)
        world = World(changes_max=random.choice([2, 4096]))
        for _ in range(random.randrange(60)):
            step(world, random)
        for place in range(len(world.devices)):
            world.sync(place, "INSTALLED")
            world.obeys(place)
