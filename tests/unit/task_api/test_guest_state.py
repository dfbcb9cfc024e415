"""What a task keeps, asks and uploads, outside a VM and on the device's store: one suite on both keepers."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shoal_task import Event, clock, config, kv, table, testing, upload
from shoal_task.run_state import (
    KEY_BYTES_MAX,
    ROWS_MAX,
    TABLES_MAX,
    VALUE_BYTES_MAX,
    VALUES_BYTES_MAX,
    Changes,
    MemoryKept,
    RunState,
)

from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.store import Store

EVENT = Event(7, b"abc", uid=bytes(16), wall_ms=1_800_000_000_000)
type Run = Callable[[Callable[[], object]], None]


class DeviceKept:
    """The device's store behind the same face as MemoryKept."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path, random=Random(1), settings=AgentSettings())
        self.of_task = self.store.state("mine")
        self.value, self.sizes = self.of_task.value, self.of_task.sizes
        self.rows, self.tables = self.of_task.rows, self.of_task.tables

    def apply(self, changes: Changes) -> None:
        with self.store.transaction():
            self.of_task.apply(changes)


@pytest.fixture(params=["memory", "device"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Runs a function as a task's entry would be; an exception keeps nothing."""
    kept: MemoryKept | DeviceKept = MemoryKept()
    if request.param == "device":
        kept = DeviceKept(tmp_path / "agent.db")

    def one(entry: Callable[[], object]) -> None:
        testing.run(lambda _event: entry(), EVENT, kept=kept)  # type: ignore[arg-type]  # either keeper

    yield one
    if isinstance(kept, DeviceKept):
        kept.store.close()


def test_values_last_and_are_seen_at_once(run: Run) -> None:
    def first() -> None:
        assert kv.get("a") is None
        kv.put("a", b"1")
        kv.put("ab", memoryview(b"2"))
        kv.put("empty", b"")
        assert (kv.get("a"), kv.keys(), kv.keys("ab")) == (b"1", ["a", "ab", "empty"], ["ab"])

    def second() -> None:
        assert (kv.get("a"), kv.get("ab"), kv.get("empty")) == (b"1", b"2", b"")
        kv.delete("a")
        kv.delete("never there")
        assert kv.get("a") is None
        assert kv.keys() == ["ab", "empty"]

    def third() -> None:
        assert kv.keys() == ["ab", "empty"]

    for entry in (first, second, third):
        run(entry)


def test_a_run_that_fails_keeps_nothing(run: Run) -> None:
    def fails() -> None:
        kv.put("a", b"1")
        table.append("t", {"n": 1})
        raise KeyError("after all")

    with pytest.raises(KeyError):
        run(fails)

    def look() -> None:
        assert kv.keys() == []
        assert table.rows("t") == []

    run(look)


def test_tables_keep_their_newest_rows(run: Run) -> None:
    def fill(count: int) -> None:
        for number in range(count):
            table.append("t", {"n": number, "text": "é\0", "none": None, "yes": True})
        table.append("other", {"n": -1})

    run(lambda: fill(ROWS_MAX - 1))
    run(lambda: fill(3))

    def look() -> None:
        rows = table.rows("t")
        assert len(rows) == ROWS_MAX
        assert [row["n"] for row in rows[-4:]] == [ROWS_MAX - 2, 0, 1, 2]
        assert rows[0]["n"] == 2
        assert rows[-1] == {"n": 2, "text": "é\0", "none": None, "yes": True}
        assert [row["n"] for row in table.rows("t", last=2)] == [1, 2]
        assert table.rows("t", last=0) == []
        assert len(table.rows("other")) == 2
        table.clear("t")
        table.append("t", {"n": 9})
        assert table.rows("t") == [{"n": 9}]

    run(look)

    def after() -> None:
        assert table.rows("t") == [{"n": 9}]

    run(after)


def fill_values(count: int) -> None:
    for number in range(count):
        kv.put(str(number), bytes(VALUE_BYTES_MAX))


def fill_tables(count: int) -> None:
    for number in range(count):
        table.append(str(number), {})


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: kv.put("", b""), "a key has"),
        (lambda: kv.put("k" * (KEY_BYTES_MAX + 1), b""), "a key has"),
        (lambda: kv.put("k\0", b""), "a key has"),
        (lambda: kv.put("k", bytes(VALUE_BYTES_MAX + 1)), "a value of"),
        (
            lambda: fill_values(VALUES_BYTES_MAX // VALUE_BYTES_MAX + 1),
            "delete keys first",
        ),
        (lambda: table.append("t", {"text": "x" * 5_000}), "a row of"),
        (lambda: fill_tables(TABLES_MAX + 1), "tables already"),
        (lambda: table.append("", {}), "a key has"),
    ],
)
def test_what_is_too_much_is_refused(run: Run, act: Callable[[], object], says: str) -> None:
    def entry() -> None:
        with pytest.raises(ValueError, match=says):
            act()

    run(entry)


def test_an_unknown_question_is_refused_with_a_hint() -> None:
    with pytest.raises(ValueError, match="a newer one might"):
        RunState(MemoryKept(), lambda: 0).answer("llm.generate", b"")


def test_state_is_its_tasks_own_and_goes_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "agent.db", random=Random(1), settings=AgentSettings())
    changes = Changes(values={"a": b"1"}, rows={"t": ["{}"]})
    with store.transaction():
        store.state("mine").apply(changes)
        store.state("other").apply(changes)
    with store.transaction():
        store.held.delete_task("mine")
    assert (store.state("mine").sizes(), store.state("mine").rows("t")) == ({}, [])
    assert (store.state("other").value("a"), store.state("other").rows("t")) == (b"1", ["{}"])
    store.close()


def test_an_older_agents_database_is_migrated(tmp_path: Path) -> None:
    from device_agent.agent.store.database import MIGRATIONS

    old = sqlite3.connect(tmp_path / "agent.db")
    old.executescript(MIGRATIONS[0] + "; PRAGMA user_version = 1;")
    old.close()
    store = Store(tmp_path / "agent.db", random=Random(1), settings=AgentSettings())
    with store.transaction():
        store.state("t").apply(Changes(values={"a": b"1"}))
    assert store.state("t").value("a") == b"1"
    store.close()


def test_the_clock_says_what_the_host_is_sure_of() -> None:
    told: list[int] = []
    testing.run(lambda _event: told.append(clock.wall_ms()), EVENT)
    testing.run(lambda _event: told.append(clock.wall_ms()), EVENT, wall_ms=5)
    assert told == [1_800_000_000_000, 5]
    assert clock.monotonic_ns() <= clock.monotonic_ns()


def test_config_has_the_defaults_type() -> None:
    with testing.collecting(config={"share": 1, "name": "x", "on": True, "count": 3}):
        assert config.get("share", 0.5) == 1.0
        assert isinstance(config.get("share", 0.5), float)
        assert (config.get("name", ""), config.get("on", False)) == ("x", True)
        assert config.get("absent", 7) == 7
        assert config.names() == ["count", "name", "on", "share"]
        for name, default in (("name", 1), ("on", 1), ("count", True), ("count", "")):
            with pytest.raises(TypeError, match=r"mend it in task\.toml"):
                config.get(name, default)


def test_nothing_is_asked_while_the_module_loads() -> None:
    with testing.collecting(), pytest.raises(RuntimeError, match="while the module loads"):
        kv.get("a")


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 200_000), st.randoms(use_true_random=False))
def test_uploads_come_together_in_any_order(size: int, random: Random) -> None:
    data = random.randbytes(size)
    parts = upload.split(bytes(16), data)
    others = upload.split(bytes([1] * 16), b"other")
    mixed = [*parts, *parts[:-1], *others]
    random.shuffle(mixed)
    whole = upload.Parts()
    done = [found for found in (whole.add(part) for part in mixed) if found is not None]
    assert data in done
    assert b"other" in done


def test_an_upload_is_emits_that_need_their_permission() -> None:
    done = testing.run(lambda _event: upload.send("big", bytes(150_000)), EVENT, topics={"big"})
    assert len(done.emits) == 3
    whole = upload.Parts()
    assert [whole.add(emit.payload) for emit in done.emits][-1] == bytes(150_000)
    with pytest.raises(PermissionError):
        testing.run(lambda _event: upload.send("big", b""), EVENT, topics=set())
    with pytest.raises(ValueError, match="of an upload"):
        testing.run(lambda _event: upload.send("big", bytes(5 << 20)), EVENT)


@pytest.mark.parametrize("at", [0, 4, 24, 28, 32, 40])
def test_a_damaged_part_is_refused(at: int) -> None:
    (part,) = upload.split(bytes(16), b"some data")
    damaged = bytearray(part)
    damaged[at] ^= 0x41
    with pytest.raises(upload.UploadInvalid):
        upload.Parts().add(bytes(damaged))
    with pytest.raises(upload.UploadInvalid, match="fewer"):
        upload.Parts().add(part[:10])


def test_uploads_that_never_end_are_dropped() -> None:
    whole = upload.Parts()
    for number in range(upload.OPEN_MAX + 5):
        assert whole.add(upload.split(number.to_bytes(16), bytes(70_000))[0]) is None
    assert len(whole._open) == upload.OPEN_MAX
