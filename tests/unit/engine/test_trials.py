"""Timed trials: a budget that holds, figures kept for the process, and a plan that follows what was measured."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.asking import Request
from device_agent.engine.machine import machine_of
from device_agent.engine.model import Model, parse_model
from device_agent.engine.plan.costs import (
    TRIED_MAX,
    TRIED_NEAR,
    Choice,
    ConvolutionShape,
    convolution_choices,
    near_first,
)
from device_agent.engine.planner import plan_part, target_of
from device_agent.engine.settings import PLAN_LIMITS
from device_agent.engine.trials import Trials, Tried
from tests.helpers.arrays import tensor_of
from tests.helpers.walle_models import MODELS, feeds_of

LEVEL = _core.levels()[-1]
SHAPE = ConvolutionShape.square(16, 32, 14, 3, 1, 1)


def choices() -> list[Choice]:
    return convolution_choices(SHAPE, machine_of(LEVEL))


def test_a_figure_is_kept_for_all_budgets_of_the_process() -> None:
    kept: dict[Tried, float] = {}
    first, second = Trials(LEVEL, 1, 1, kept=kept), Trials(LEVEL, 1, 0, kept=kept)
    seconds = first.seconds(SHAPE, choices()[0])
    assert seconds is not None
    assert seconds > 0
    assert second.seconds(SHAPE, choices()[0]) == seconds
    assert (first.made, first.left, second.made) == (1, 0, 0)


def test_a_spent_budget_says_nothing() -> None:
    budget = Trials(LEVEL, 1, 1, kept={})
    known, unknown = choices()[:2]
    assert budget.seconds(SHAPE, known) is not None
    assert budget.seconds(SHAPE, unknown) is None
    assert budget.seconds(SHAPE, known) is not None


def test_time_is_bounded_too() -> None:
    ticks: Iterator[float] = iter([0.0, PLAN_LIMITS.trials_s, 9.0, 9.0])
    budget = Trials(LEVEL, 1, 5, kept={}, clock=lambda: next(ticks))
    known, unknown = choices()[:2]
    assert budget.seconds(SHAPE, known) is not None
    assert budget.seconds(SHAPE, unknown) is None


def test_nobody_asks_for_more_than_the_limit() -> None:
    assert Trials(LEVEL, 1, 10**9).left == PLAN_LIMITS.trials_max


def test_only_what_the_model_thinks_near_is_tried() -> None:
    rows = [(1.0 + 0.3 * i, choice) for i, choice in enumerate(choices())]
    assert near_first(rows) == [choice for s, choice in rows if s <= TRIED_NEAR][:TRIED_MAX]
    assert near_first(rows[:1]) == [rows[0][1]]


def test_a_plan_follows_what_was_measured() -> None:
    """Trials that always find the model's second choice quicker make another plan, of the same result."""
    feeds = feeds_of(MODELS["squeezenet"](), 0)
    file = _core.check_model(compile_onnx(MODELS["squeezenet"]()))
    seen: list[str] = []

    def measured(_: ConvolutionShape, choice: Choice, *__: object) -> float:
        seen.append(choice.algorithm)
        return 1e-3 / len(seen)  # what comes later is quicker

    model = parse_model(memoryview(file))
    given = {name: tensor_of(array) for name, array in feeds.items()}
    specs = {name: (1, tensor.shape) for name, tensor in given.items()}
    alone = target_of(LEVEL, 1)
    budget = Trials(LEVEL, 1, PLAN_LIMITS.trials_max, measure=measured, kept={})
    made = []
    for target in (alone, replace(alone, trial=budget.seconds)):
        graph = model.graph
        stage = plan_part(graph, graph.constants, 0, specs, lambda _: b"", target)
        made.append(
            (stage.plan.words, _core.session(stage.plan.words, file).run([*given.values()]))
        )
    assert 0 < budget.made == len(seen) <= PLAN_LIMITS.trials_max
    (words, (one,)), (others, (other,)) = made
    assert words != others
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-3, atol=1e-5)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(
        ValueError, match="trials is how many timed trials planning may take, not -1"
    ):
        Model(_core.check_model(compile_onnx(MODELS["din"]())), trials=-1)


def test_a_request_carries_them() -> None:
    request = Request(address=(), at=3, level=LEVEL, threads=2, trials=7, specs=[("x", 1, (2,))])
    assert Request.from_bytes(request.to_bytes()).trials == 7
