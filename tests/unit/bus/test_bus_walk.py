"""The embedded bus against a slow one of lists, over histories of publishing, taking, waiting and trimming."""

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.errors import RecordRefused
from cloud.bus.interface import Record, check_names, check_records
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from tests.helpers.manual_clock import ManualClock

TOPICS = ("demo/app/a", "demo/app/b")
GROUPS = ("g", "h")
SETTINGS = BusSettings(
    visibility_ms=1_000,
    poll_ms=1,
    acknowledged_keep_ms=5_000,
    unread_keep_ms=60_000,
    take_records_max=4,
)
topics, groups = st.sampled_from(TOPICS), st.sampled_from(GROUPS)
steps = st.one_of(
    st.tuples(st.just("publish"), topics, st.integers(1, 3)),
    st.tuples(st.just("take"), topics, groups, st.integers(1, 6)),
    st.tuples(st.just("ack"), topics, groups, st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([1, 400, 999, 1_000, 4_000, 30_000])),
    st.tuples(st.just("back"), st.sampled_from([500, 5_000])),
    st.tuples(st.just("trim")),
)


@dataclass
class SlowTopic:
    """Everything that was ever published, with when; and for each group what it was handed and what it said."""

    published: list[tuple[str, int]] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)
    read_up_to: dict[str, int] = field(default_factory=dict)
    handed: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def take(self, group: str, limit: int, now_ms: int) -> list[tuple[str, int]]:
        handed = self.handed.setdefault(group, {})
        read = self.read_up_to.get(group, 0)
        due = [
            place
            for place, (at_ms, _) in sorted(handed.items())
            if at_ms <= now_ms - SETTINGS.visibility_ms or at_ms > now_ms + 1_000
        ]
        new = [place for place in range(read, len(self.published)) if place not in self.gone]
        chosen = due[:limit]
        fresh = new[: limit - len(chosen)]
        if chosen or fresh:
            self.read_up_to.setdefault(group, 0)
        for place in chosen:
            handed[place] = (now_ms, handed[place][1] + 1)
        for place in fresh:
            handed[place] = (now_ms, 1)
            self.read_up_to[group] = place + 1
        return [(self.published[place][0], handed[place][1]) for place in [*chosen, *fresh]]

    def trim(self, now_ms: int) -> int:
        needed = [
            min([self.read_up_to[group], *self.handed.get(group, {})]) for group in self.read_up_to
        ]
        oldest = min(needed, default=0)
        going = {
            place
            for place, (_, at_ms) in enumerate(self.published)
            if place not in self.gone
            and (
                at_ms <= now_ms - SETTINGS.unread_keep_ms
                or (place < oldest and at_ms <= now_ms - SETTINGS.acknowledged_keep_ms)
            )
        }
        self.gone |= going
        for handed in self.handed.values():
            for place in going:
                handed.pop(place, None)
        return len(going)


@dataclass
class Walk:
    bus: EmbeddedBus
    clock: ManualClock
    slow: dict[str, SlowTopic] = field(
        default_factory=lambda: {name: SlowTopic() for name in TOPICS}
    )
    held: dict[tuple[str, str], list[Record]] = field(default_factory=dict)
    number: int = 0

    async def publish(self, topic: str, count: int) -> None:
        rows = [(f"k{self.number + place}", b"x") for place in range(count)]
        self.number += count
        await self.bus.publish(topic, rows)
        self.slow[topic].published += [(key, self.clock.wall_ms()) for key, _ in rows]

    async def take(self, topic: str, group: str, limit: int) -> None:
        found = await self.bus.take(topic, group, "c", limit=limit, wait_ms=0)
        expected = self.slow[topic].take(
            group, min(limit, SETTINGS.take_records_max), self.clock.wall_ms()
        )
        assert [(one.key, one.deliveries) for one in found] == expected
        self.held.setdefault((topic, group), []).extend(found)

    async def ack(self, topic: str, group: str, count: int) -> None:
        """Records that were handed out at any time, also ones that are acknowledged or gone already."""
        records = self.held.get((topic, group), [])[:count]
        await self.bus.ack(*records)
        await self.bus.ack(*records)
        slow = self.slow[topic]
        places = {key: place for place, (key, _) in enumerate(slow.published)}
        for record in records:
            slow.handed[group].pop(places[record.key], None)

    async def wait(self, ms: int) -> None:
        self.clock.advance_ms(ms)

    async def back(self, ms: int) -> None:
        """The wall clock is set back."""
        self.clock.set_wall_ms(self.clock.wall_ms() - ms)

    async def trim(self) -> None:
        removed = await self.bus.trim()
        assert removed == sum(slow.trim(self.clock.wall_ms()) for slow in self.slow.values())

    async def check(self) -> None:
        for topic, slow in self.slow.items():
            for group in GROUPS:
                backlog = await self.bus.backlog(topic, group)
                read = slow.read_up_to.get(group, 0)
                there = [place for place in range(len(slow.published)) if place not in slow.gone]
                assert backlog.unread == sum(place >= read for place in there)
                assert backlog.unacknowledged == len(slow.handed.get(group, {}))


async def walked(url: str, history: list[tuple[Any, ...]]) -> None:
    database = await Database.open(url)
    try:
        clock = ManualClock()
        walk = Walk(EmbeddedBus(database, clock, SETTINGS), clock)
        for name, *more in history:
            await getattr(walk, name)(*more)
            await walk.check()
    finally:
        await database.close()


@pytest.mark.slow
@hypothesis_settings(max_examples=12)
@given(history=st.lists(steps, min_size=5, max_size=25))
def test_every_history_is_that_of_the_slow_bus(
    sqlite_template: Path, history: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shoal.db"
        shutil.copyfile(sqlite_template, path)
        asyncio.run(walked(f"sqlite:///{path}", history))


@given(st.text(max_size=12), st.text(max_size=70), st.text(max_size=70))
def test_names_are_printable_ascii_within_their_limits(
    topic: str, group: str, consumer: str
) -> None:
    good = all(
        0 < len(name) <= most and all(" " <= char <= "~" for char in name)
        for name, most in ((topic, 256), (group, 64), (consumer, 64))
    )
    if good:
        check_names(topic, group, consumer)
        return
    with pytest.raises(RecordRefused):
        check_names(topic, group, consumer)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([("", b"")], "1 to 128"),
        ([("k" * 129, b"")], "1 to 128"),
        ([("k", bytes(1024 * 1024 + 1))], "1048577 bytes"),
        ([("k", b"")] * 1_001, "at most 1000"),
        ([("k", b""), ("", b"")], "1 to 128"),
    ],
)
def test_records_past_a_limit_are_refused_whole(
    records: list[tuple[str, bytes]], says: str
) -> None:
    with pytest.raises(RecordRefused, match=says):
        check_records("demo/app/a", records, BusSettings())
