"""Graphs that no compiler writes, as fuzzing made them: refused with a reason while they are planned, in no time."""

import struct
from collections.abc import Mapping

import pytest

from device_agent.engine.graph import Attribute, Constant, Graph, Operator, Port
from device_agent.engine.ops import Dtype
from device_agent.engine.plan.planned import PlanError
from device_agent.engine.planner import plan_part

type Shapes = dict[str, tuple[int, ...]]


def plan(
    op: str, shapes: Shapes, attributes: Mapping[str, Attribute], **numbers: tuple[int, ...]
) -> None:
    """Plans one operator over float inputs, and integer constants by name."""
    constants = {
        name: Constant(
            dtype=Dtype.INT64, shape=(len(row),), data=struct.pack(f"<{len(row)}q", *row)
        )
        for name, row in numbers.items()
    }
    made = Operator(
        op=op, inputs=(*shapes, *constants), outputs=("y",), attributes=dict(attributes)
    )
    ports = tuple(
        Port(name=name, dtype=Dtype.FLOAT32, shape=shape) for name, shape in shapes.items()
    )
    graph = Graph(
        inputs=ports,
        outputs=(Port(name="y"),),
        operators=(made,),
        constants=constants,
    )
    specs = {name: (int(Dtype.FLOAT32), shape) for name, shape in shapes.items()}
    plan_part(graph, constants, 0, specs, lambda _: b"", None)


CONV: dict[str, Attribute] = {
    "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "group": 1, "auto_pad": "NOTSET",
    "kernel_shape": (3, 3),
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "weights", "said"),
    [
        ({"strides": (0, 1)}, (4, 3, 3, 3), "a window of 3, 0 apart"),
        ({"dilations": (1, -1)}, (4, 3, 3, 3), "-1 between its elements"),
        ({"pads": (-90, 0, 0, 0)}, (4, 3, 3, 3), "with pads -90"),
        ({"group": 3}, (2, 1, 3, 3), "in 3 groups"),
        ({"group": 0}, (4, 3, 3, 3), "in 0 groups"),
        ({"group": 2}, (4, 3, 3, 3), "in 2 groups"),
    ],
)
def test_windows_and_groups_that_cannot_be(
    changed: dict[str, Attribute], weights: tuple[int, ...], said: str
) -> None:
    shapes = {"x": (1, 3, 9, 9), "w": weights}
    with pytest.raises(PlanError, match=said):
        plan("conv", shapes, CONV | changed)


def test_what_fits_is_planned() -> None:
    plan("conv", {"x": (1, 3, 9, 9), "w": (4, 3, 3, 3)}, CONV)


@pytest.mark.parametrize("sizes", [(-4, 3), (2**33, 1), (2**20, 2**20), (-(2**70), 1)])
def test_sizes_that_no_tensor_has(sizes: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="cannot be"):
        plan("relu", {"x": sizes}, {})


def test_a_pad_that_would_take_forever() -> None:
    with pytest.raises(PlanError, match="is too long"):
        plan("pad", {"x": (1, 2)}, {"mode": "reflect"}, pads=(0, 0, 0, 2**40))
