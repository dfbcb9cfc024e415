"""Steps of training that another plans: the same words as planned here, and requests that are none are refused."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from device_agent.engine import _core
from device_agent.engine.asking import Request, ask_stage
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Graph
from device_agent.engine.model import parse_model
from device_agent.engine.ops import Dtype
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.planner import answer_request, target_of
from device_agent.engine.train.losses import LOSSES, CrossEntropy, Loss, MeanSquaredError
from device_agent.engine.train.optimizers import OPTIMIZERS, Adam, Optimizer, Sgd
from device_agent.engine.train.planning import (
    LOSS,
    TARGETS,
    Training,
    number_names,
    plan_training,
    state_names,
)
from tests.helpers.graphs import two_layers

LEVEL = _core.levels()[-1]
type Specs = dict[str, tuple[int, tuple[int, ...]]]

OPTIMISERS: list[Optimizer] = [
    Sgd(rate=0.1),
    Sgd(rate=0.3, momentum=0.9),
    Adam(rate=0.001, weight_decay=0.01),
]


def trained(graph: Graph, loss: Loss, optimizer: Optimizer) -> tuple[Training, Specs]:
    """What trains a graph whose last layer makes `sums`, on four rows."""
    shapes = {name: c.shape for name, c in graph.constants.items() if c.dtype == Dtype.FLOAT32}
    training = Training(output="sums", weights=tuple(shapes), loss=loss, optimizer=optimizer)
    target = (Dtype.INT64, (4,)) if isinstance(loss, CrossEntropy) else (Dtype.FLOAT32, (4, 2))
    specs: Specs = {"x": (1, (4, 3)), TARGETS: (int(target[0]), target[1])}
    for name, shape in shapes.items():
        specs |= dict.fromkeys((name, *state_names(optimizer, name)), (1, shape))
    return training, specs | dict.fromkeys(number_names(optimizer), (1, ()))


def requested(graph: Graph, said: Sequence[object], specs: Specs) -> Request:
    rows = [(name, dtype, shape) for name, (dtype, shape) in specs.items()]
    return Request(
        address=(), at=0, level=LEVEL, threads=1, trials=0, specs=rows, training=said,
        file=encode_model(graph),
    )  # fmt: skip


@pytest.mark.parametrize("loss", [CrossEntropy(), MeanSquaredError()], ids=repr)
@pytest.mark.parametrize("optimizer", OPTIMISERS, ids=repr)
def test_who_is_asked_plans_the_same(loss: Loss, optimizer: Optimizer) -> None:
    graph = two_layers()
    training, specs = trained(graph, loss, optimizer)
    said = training.said()
    assert said is not None
    assert Training.from_said(json.loads(json.dumps(said))) == replace(
        training,
        weights=list(training.weights),
    )
    read = parse_model(encode_model(graph)).graph  # constants at their places in the file
    here = plan_training(read, training, specs, target_of(LEVEL, 1))
    asked = ask_stage(
        lambda data: answer_request("", data), requested(graph, said, specs), lambda _: b""
    )
    assert (asked.outputs, asked.inputs) == (here.outputs, here.inputs)
    assert asked.outputs[0] == LOSS
    assert asked.plan.words == here.plan.words


def test_what_cannot_be_trained_is_said() -> None:
    graph = two_layers()
    training, specs = trained(graph, CrossEntropy(), Sgd(rate=0.1))
    said = training.said()
    assert said is not None
    with pytest.raises(PlanError, match="cross entropy"):
        ask_stage(
            lambda data: answer_request("", data),
            requested(graph, said, specs | {TARGETS: (1, (4, 2))}),
            lambda _: b"",
        )


@pytest.mark.parametrize("place", [2, 3])
def test_a_loss_or_optimiser_that_there_is_not(place: int) -> None:
    said = ["sums", ["w"], ["CrossEntropy", True], ["Sgd", 0.1, 0.0, 0.0, False]]
    said[place] = ["Own"]
    with pytest.raises(ValueError, match="a loss or an optimiser that there is not"):
        Training.from_said(said)


def test_code_of_a_task_is_not_sent() -> None:
    class Own(MeanSquaredError):
        pass

    assert Training(output="y", weights=(), loss=Own(), optimizer=Sgd(rate=1)).said() is None


def test_all_kinds_are_known_by_name() -> None:
    assert set(LOSSES) == {"CrossEntropy", "MeanSquaredError"}
    assert set(OPTIMIZERS) == {"Sgd", "Adam"}
