"""Buckets: uniform, monotone, independent across salts, and the same for ever."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.targeting.bucket import BUCKETS, bucket, in_share

DEVICES = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(20_000)]

# Chi-squared with 99 degrees of freedom is above this once in a million draws.
CHI2_99_MAX = 175.0


def chi2(counts: list[int], expected: float) -> float:
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("salt", ["r0123456789abcdefghjkmnpqrs", "digits", ""])
def test_devices_spread_evenly(salt: str) -> None:
    counts = [0] * 100
    for device in DEVICES:
        counts[bucket(salt, device) * 100 // BUCKETS] += 1
    assert chi2(counts, len(DEVICES) / 100) < CHI2_99_MAX


def test_consecutive_ids_spread_evenly_too() -> None:
    counts = [0] * 100
    for number in range(20_000):
        counts[bucket("salt", f"{number:032x}") * 100 // BUCKETS] += 1
    assert chi2(counts, 200) < CHI2_99_MAX


def test_two_salts_draw_independent_samples() -> None:
    # A 10 x 10 contingency table; under independence every cell has a hundredth of the devices.
    counts = [0] * 100
    for device in DEVICES:
        first = bucket("release-a", device) * 10 // BUCKETS
        second = bucket("release-b", device) * 10 // BUCKETS
        counts[first * 10 + second] += 1
    assert chi2(counts, len(DEVICES) / 100) < CHI2_99_MAX


@given(salt=st.text(max_size=40), device=st.sampled_from(DEVICES), data=st.data())
def test_widening_a_share_never_drops_a_device(salt: str, device: str, data: st.DataObject) -> None:
    narrow = data.draw(st.integers(0, BUCKETS))
    wide = data.draw(st.integers(narrow, BUCKETS))
    assert in_share(salt, device, wide) >= in_share(salt, device, narrow)


@given(salt=st.text(max_size=40), device=st.sampled_from(DEVICES))
def test_nobody_is_in_nothing_and_all_are_in_everything(salt: str, device: str) -> None:
    assert 0 <= bucket(salt, device) < BUCKETS
    assert not in_share(salt, device, 0)
    assert in_share(salt, device, BUCKETS)


@pytest.mark.parametrize(
    ("salt", "device", "expected"),
    [
        ("", "00000000000000000000000000000000", 185013),
        ("digits", "00000000000000000000000000000000", 829711),
        ("digits", "ffffffffffffffffffffffffffffffff", 428723),
        ("raaaaaaaaaaaaaaaaaaaaaaaaaa", "0123456789abcdef0123456789abcdef", 120822),
        ("wörld", "0123456789abcdef0123456789abcdef", 257361),
    ],
)
def test_golden_values_stay(salt: str, device: str, expected: int) -> None:
    assert bucket(salt, device) == expected
