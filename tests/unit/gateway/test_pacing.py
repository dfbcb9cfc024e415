from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from cloud.gateway.pacing import (
    PLACES,
    PREFIX_CHARS,
    PREFIXES,
    PRESSURE_STEPS,
    Load,
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


def test_load_is_told_a_second_later_and_falls_again() -> None:
    load = Load(SETTINGS)
    levels = [load.count(1_000) for _ in range(40)]
    assert set(levels) == {PRESSURE_STEPS}
    assert load.count(2_000) == 4 * PRESSURE_STEPS
    assert load.count(3_000) == PRESSURE_STEPS
    assert load.count(9_000) == PRESSURE_STEPS
