from hypothesis import given
from hypothesis import strategies as st

from cloud.gateway.change_log import ChangeLog

CHANGES = [(10, "a"), (20, "b"), (30, "a"), (40, "c")]


def test_since_names_each_later_task_once_in_order() -> None:
    log = ChangeLog(floor=5).extended(CHANGES)
    assert log.since(5) == ("a", "b", "c")
    assert log.since(10) == ("a", "b", "c")
    assert log.since(20) == ("a", "c")
    assert log.since(39) == ("c",)
    assert log.since(40) == ()


def test_before_the_floor_nothing_can_be_said() -> None:
    assert ChangeLog(floor=5).extended(CHANGES).since(4) is None


def test_the_oldest_fall_off_and_raise_the_floor() -> None:
    log = ChangeLog(floor=5).extended(CHANGES, limit=2)
    assert len(log) == 2
    assert log.floor == 20
    assert log.since(19) is None
    assert log.since(20) == ("a", "c")


def test_a_shorter_log_stays_as_it_was() -> None:
    log = ChangeLog(floor=5).extended(CHANGES[:2])
    log.since(5)
    log.extended(CHANGES[2:])
    assert log.since(5) == ("a", "b")


@given(
    steps=st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abcd")), max_size=30),
    limit=st.integers(1, 30),
    epoch=st.integers(0, 100),
)
def test_since_equals_a_plain_scan(steps: list[tuple[int, str]], limit: int, epoch: int) -> None:
    at, changes = 3, []
    log = ChangeLog(floor=3)
    for gap, task in steps:
        at += gap
        changes.append((at, task))
        log = log.extended([(at, task)], limit)
    kept = changes[-limit:]
    floor = changes[-limit - 1][0] if len(changes) > limit else 3
    wanted = tuple(sorted({task for when, task in kept if when > epoch}))
    assert log.since(epoch) == (None if epoch < floor else wanted)
