from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.gateway.pacing import (
    PLACES,
    PREFIX_CHARS,
    PREFIXES,
    PRESSURE_STEPS,
    Load,
    base_ms,
    next_sync_after_ms,
)
from cloud.gateway.settings import PacingSettings

SETTINGS = PacingSettings(
    interval_ms=10_000,
    stepping_interval_ms=1_000,
    interval_ms_max=50_000,
    jitter_ppm=100_000,
    syncs_per_s_max=10,
)


def after(place: int = 0, *, stepping: bool = False, pressure: float = 1.0) -> int:
    return next_sync_after_ms(SETTINGS, place=place, stepping=stepping, pressure=pressure)


def test_jitter_spreads_around_the_interval_by_the_devices_place() -> None:
    assert (after(0), after(PLACES - 1)) == (9_000, 11_000)
    assert after(0, stepping=True) == 900


def test_pressure_stretches_up_to_a_bound_and_never_shortens() -> None:
    assert after(0, pressure=2.0) == 18_000
    assert after(0, pressure=100.0) == 45_000
    assert after(0, pressure=0.1) == after(0)


def test_every_id_has_a_place() -> None:
    assert {device.hex()[:PREFIX_CHARS] for device in map(bytes, product(range(256)))} == set(
        PREFIXES
    )


@given(place=st.integers(0, PLACES - 1), stepping=st.booleans(), pressure=st.floats(0, 1e6))
def test_there_is_always_a_next_time(place: int, stepping: bool, pressure: float) -> None:
    chosen = after(place, stepping=stepping, pressure=pressure)
    assert 1 <= chosen <= SETTINGS.interval_ms_max * 1.1


def test_below_the_rate_there_is_no_pressure() -> None:
    load = Load(SETTINGS)
    assert {load.count(n * 100, 1_000) for n in range(1_000)} == {PRESSURE_STEPS}


def test_pressure_grows_with_what_is_ahead_of_the_rate_and_falls_with_time() -> None:
    load = Load(SETTINGS)
    assert [load.count(0, 1_000) for _ in range(40)][-1] == 5 * PRESSURE_STEPS  # 40 slots of 100 ms
    assert (
        load.count(0, 10_000) == PRESSURE_STEPS + 1
    )  # the same lag is little beside a long interval
    assert load.count(4_000, 1_000) == PRESSURE_STEPS
    many = [load.count(4_000, 1_000) for _ in range(10_000)]
    assert many[-1] == PRESSURE_STEPS + SETTINGS.interval_ms_max * PRESSURE_STEPS // 1_000


def test_a_clock_that_jumps_does_not_bring_everyone_at_once_nor_keep_them_away() -> None:
    load = Load(SETTINGS)
    before = [load.count(10_000_000, 1_000) for _ in range(40)][-1]
    assert load.count(5_000, 1_000) >= before
    assert load.count(5_000 + 5_000, 1_000) == PRESSURE_STEPS


@pytest.mark.slow
@pytest.mark.parametrize("stepping", [False, True])
@pytest.mark.parametrize("devices", [2_000, 30_000])
def test_a_herd_is_spread_before_it_comes_back(devices: int, stepping: bool) -> None:
    """All devices call within one second, as after an outage; afterwards the gateway is never overrun."""
    settings = PacingSettings(syncs_per_s_max=500)
    load = Load(settings)
    due = Counter({0: devices})
    rates = []
    for second in range(600):
        rates.append(due[second])
        for n in range(due.pop(second, 0)):
            base = base_ms(settings, stepping=stepping)
            pressure = load.count(second * 1_000, base) / PRESSURE_STEPS
            wait_ms = next_sync_after_ms(
                settings, place=n * 37 % PLACES, stepping=stepping, pressure=pressure
            )
            due[second + max(1, round(wait_ms / 1_000))] += 1
    assert rates[0] == devices
    assert max(rates[1:]) <= settings.syncs_per_s_max * 1.4
