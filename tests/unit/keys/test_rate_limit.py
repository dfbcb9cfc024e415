"""Who may try to enrol, and when: buckets that fill with time, and are never more than full."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.keys.rate_limit import EnrolmentLimiter, source_of
from cloud.keys.settings import KeySettings

SETTINGS = KeySettings(
    enrol_source_per_second=2.0,
    enrol_source_burst=4,
    enrol_per_second=10.0,
    enrol_burst=12,
    enrol_refusal_cost=3,
    enrol_sources_max=8,
)
sources = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"])
steps = st.lists(st.tuples(sources, st.integers(-100, 3_000), st.booleans()), max_size=80)


@given(steps)
def test_nobody_gets_more_than_burst_and_rate_allow(tries: list[tuple[str, int, bool]]) -> None:
    limiter, now_ms, newest_ms = EnrolmentLimiter(SETTINGS), 1_000_000, 1_000_000
    begun_ms = now_ms
    passed: dict[str, int] = {}
    for source, step_ms, refused in tries:
        now_ms += step_ms
        newest_ms = max(newest_ms, now_ms)
        if limiter.take(source, now_ms) == 0:
            passed[source] = passed.get(source, 0) + 1
            if refused:
                limiter.refused(source, now_ms)
        # A clock that goes back and forth fills again what it took back: bounded by all that was walked forward.
    walked_ms = sum(step for _, step, _ in tries if step > 0) + (newest_ms - begun_ms) * 0
    for count in passed.values():
        assert count <= SETTINGS.enrol_source_burst + walked_ms / 1000 * 2 + 1e-6
    assert sum(passed.values()) <= SETTINGS.enrol_burst + walked_ms / 1000 * 10 + 1e-6


@given(steps)
def test_who_waits_as_long_as_told_gets_in(tries: list[tuple[str, int, bool]]) -> None:
    limiter, now_ms = EnrolmentLimiter(SETTINGS), 0
    for source, step_ms, refused in tries:
        now_ms += max(0, step_ms)
        if limiter.take(source, now_ms) == 0 and refused:
            limiter.refused(source, now_ms)
    wait_ms = limiter.take("10.0.0.1", now_ms)
    if wait_ms:
        assert limiter.take("10.0.0.1", now_ms + wait_ms) == 0


def test_guessing_shuts_out_its_own_address_alone() -> None:
    limiter = EnrolmentLimiter(SETTINGS)
    for _ in range(3):
        if limiter.take("10.0.0.1", 0) == 0:
            limiter.refused("10.0.0.1", 0)
    assert limiter.take("10.0.0.1", 0) > 0
    assert limiter.take("10.0.0.2", 0) == 0


def test_the_longest_quiet_are_forgotten_first() -> None:
    limiter = EnrolmentLimiter(KeySettings(enrol_source_burst=1, enrol_sources_max=2))
    for source in ("a", "b", "c"):
        assert limiter.take(source, 0) == 0
    assert limiter.take("c", 0) > 0, "still known"
    assert limiter.take("a", 0) == 0, "forgotten"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_what_shares_a_bucket(address: str, source: str) -> None:
    assert source_of(address) == source
