"""What kernels cost here: measured, kept in a file for this machine only, set for every plan of the process."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.engine import _core
from device_agent.engine.calibrate import (
    SHAPES,
    calibrated,
    load_costs,
    machine_name,
    save_costs,
    use_costs,
)
from device_agent.engine.machine import machine_of, set_machine, typical_machine
from device_agent.engine.plan.costs import ConvolutionShape, convolution_choices
from device_agent.engine.trials import seconds_of

LEVEL = _core.levels()[-1]
ODD = replace(
    typical_machine(LEVEL), flops_per_s=3e9, near_bytes_per_s=5e9, far_bytes_per_s=7e8, call_s=1e-7
)


@pytest.fixture(autouse=True)
def _costs_as_they_were() -> Iterator[None]:
    before = machine_of(LEVEL)
    yield
    set_machine(LEVEL, before)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    save_costs(path, {LEVEL: ODD})
    assert load_costs(path) == {LEVEL: ODD}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda said: said | {"machine": "another"},
        lambda said: said | {"levels": None},
        lambda said: said | {"levels": {LEVEL: {"flops_per_s": 1e9}}},
        lambda said: said | {"levels": {LEVEL: dict.fromkeys(("flops_per_s",), "fast")}},
        lambda said: [said],
    ],
)
def test_a_file_of_another_machine_or_form_is_none(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "costs.json"
    save_costs(path, {LEVEL: ODD})
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))  # type: ignore[operator]
    assert load_costs(path) == {}


def test_a_file_that_was_cut_or_is_not_there_is_none(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    assert load_costs(path) == {}
    save_costs(path, {LEVEL: ODD})
    path.write_bytes(path.read_bytes()[:40])
    assert load_costs(path) == {}


def test_plans_go_by_what_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    save_costs(path, {LEVEL: ODD})
    assert use_costs(path)
    assert machine_of(LEVEL) == ODD
    assert _core.costs(LEVEL) == (3e9, 5e9, 7e8, 1e-7)


@pytest.mark.slow  # a second of one core
def test_a_machine_is_measured_once(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    for _ in range(5):
        if use_costs(path):  # beside other suites it may be too busy
            break
        assert not path.exists()
    else:
        pytest.skip("the machine had too much else to do five times")
    found = machine_of(LEVEL)
    shape = ConvolutionShape.square(64, 64, 28, 3, 1, 1)
    for choice in convolution_choices(shape, found):
        told, took = choice.quantity.seconds(found), seconds_of(shape, choice, LEVEL)
        assert 1 / 3 < told / took < 3, choice.algorithm
    written = path.read_bytes()
    assert use_costs(path)
    assert path.read_bytes() == written
    assert machine_of(LEVEL) == found


@pytest.mark.slow
def test_every_level_can_be_measured() -> None:
    for level in _core.levels():
        found = calibrated(level)
        assert found is None or found.flops_per_s > 1e8


def test_every_shape_is_one_that_its_choices_can_run() -> None:
    for words in SHAPES:
        shape = ConvolutionShape.square(*words)
        assert shape.touches
        for choice in convolution_choices(shape, ODD)[-1:]:
            assert seconds_of(shape, choice, LEVEL) > 0


def test_measuring_gives_up_when_it_is_told_to(tmp_path: Path) -> None:
    path, asked = tmp_path / "costs.json", []

    def stops() -> bool:
        asked.append(True)
        return len(asked) > 2

    assert not use_costs(path, stops)
    assert 3 <= len(asked) <= 5, "nothing is timed after that"
    assert not path.exists()


def test_a_machine_has_a_name_of_its_own() -> None:
    assert machine_name() == machine_name()
    assert len(machine_name()) == 32


@pytest.mark.parametrize(
    "costs",
    [
        (0.0, 1e9, 1e9, 0.0),
        (1e9, -1.0, 1e9, 0.0),
        (1e9, 1e9, float("inf"), 0.0),
        (1e9, 1e9, 1e9, float("nan")),
        (1e9, 1e9, 1e9, -1e-9),
    ],
)
def test_impossible_costs_are_refused(costs: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="a cost is impossible"):
        _core.set_costs(LEVEL, *costs)
    with pytest.raises(ValueError, match="no level"):
        _core.set_costs("avx9", 1e9, 1e9, 1e9, 0.0)  # type: ignore[arg-type]
