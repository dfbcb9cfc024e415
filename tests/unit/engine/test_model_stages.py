"""Models whose shapes hang on what they compute or are given: stages, plans that hold for what they read, control."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cloud.compiler.compile import compile_onnx
from device_agent.engine import _core
from device_agent.engine.model import Model, parse_model
from device_agent.engine.plan.planned import PlanError
from tests.helpers.graphs import node


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, list[int | str] | None],
) -> Model:
    """Outputs are float32 of a given shape, or what inference makes of them."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *rest) for name, rest in inputs.items()],
        [
            onnx.ValueInfoProto(name=name)
            if shape is None
            else helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    whole = onnx.shape_inference.infer_shapes(made)
    return parse_model(compile_onnx(whole.SerializeToString()))


def test_a_shape_that_is_computed_cuts_the_plan() -> None:
    """Which are not zero is known when the first stage has run."""
    model = model_of(
        [
            node("NonZero", "x", "places"),
            node("Transpose", "places", "rows"),
            node("Cast", "rows", "y", to=1),
        ],
        {"x": (TensorProto.FLOAT, ["n", "m"])},
        {"y": None},
    )
    for x in ([[0, 1], [2, 0]], [[0, 0], [0, 0]], [[1, 1], [1, 1]], [[3, 0], [0, 0]]):
        (made,) = model.run(_core.tensor(x))
        assert made.tolist() == np.argwhere(np.array(x)).astype(float).tolist()
    assert len(list(model.plans())) == 1 + 4, "the first stage once, the second for each count"


def test_a_plan_holds_while_what_it_read_stays() -> None:
    model = model_of(
        [node("Reshape", "x shape", "y")],
        {"x": (TensorProto.FLOAT, ["n"]), "shape": (TensorProto.INT64, [2])},
        {"y": None},
    )
    x = _core.tensor(list(range(6)))
    for shape in ([2, 3], [3, 2], [2, 3], [-1, 1]):
        made = model.run({"x": x, "shape": _core.tensor(shape, "int64")})[0]
        assert made.tolist() == np.arange(6.0).reshape(shape).tolist()
    assert len(list(model.plans())) == 3
    with pytest.raises(PlanError, match="does not reshape"):
        model.run({"x": x, "shape": _core.tensor([4, 4], "int64")})


def test_numbers_that_were_moved_are_known_as_exporters_write_pads() -> None:
    """Filled, cut, turned and cast: a raster in between is no reason to cut the plan."""
    pads = helper.make_tensor("v", TensorProto.INT64, [4], [2, 1, 0, 3])
    shape = helper.make_tensor("v", TensorProto.INT64, [2], [-1, 2])
    flat = helper.make_tensor("v", TensorProto.INT64, [1], [-1])
    numbers = {"start": [-1], "end": [-9], "axis": [0], "step": [-1]}
    model = model_of(
        [
            node("Constant", "", "pads", value=pads),
            node("Constant", "", "shape", value=shape),
            node("Constant", "", "flat", value=flat),
            *(node("Constant", "", name, value_ints=ints) for name, ints in numbers.items()),
            node("Reshape", "pads shape", "pairs"),
            node("Slice", "pairs start end axis step", "back"),
            node("Transpose", "back", "turned", perm=[1, 0]),
            node("Reshape", "turned flat", "line"),
            node("Cast", "line", "wide", to=TensorProto.INT32),
            node("Cast", "wide", "final", to=TensorProto.INT64),
            node("Pad", "x final", "y"),
        ],
        {"x": (TensorProto.FLOAT, [1, 2])},
        {"y": None},
    )
    (made,) = model.run(_core.tensor([[5.0, 6.0]]))
    assert made.tolist() == np.pad([[5.0, 6.0]], ((0, 3), (2, 1))).tolist()
    assert len(list(model.plans())) == 1


def test_what_is_only_computed_with_is_not_read() -> None:
    model = model_of(
        [node("Add", "a b", "y")],
        {"a": (TensorProto.INT64, ["n"]), "b": (TensorProto.INT64, ["n"])},
        {"y": None},
    )
    for k in range(3):
        made = model.run([_core.tensor([k, 1], "int64"), _core.tensor([2, 3], "int64")])[0]
        assert made.tolist() == [k + 2, 4]
    assert len(list(model.plans())) == 1


def branch(name: str, op: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"])
    return helper.make_graph([node(op, "x", name)], name, [], [out])


def test_a_branch_is_chosen_when_the_model_runs() -> None:
    choice = node("If", "c", "y", then_branch=branch("a", "Neg"), else_branch=branch("b", "Abs"))
    model = model_of(
        [choice],
        {"x": (TensorProto.FLOAT, ["n"]), "c": (TensorProto.BOOL, [])},
        {"y": None},
    )
    for holds, want in ((True, [1.0, -2.0]), (False, [1.0, 2.0])):
        made = model.run([_core.tensor([-1, 2]), _core.tensor(holds, "bool")])[0]
        assert made.tolist() == want


def counting_loop() -> onnx.NodeProto:
    """Adds the round's number to a state until that is 10 or more; collects the states."""
    body = helper.make_graph(
        [
            node("Cast", "i", "number", to=TensorProto.FLOAT),
            node("Add", "state number", "next"),
            node("Constant", "", "ten", value_float=10.0),
            node("Less", "next ten", "go_on"),
            node("Identity", "next", "seen"),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, []),
        ],
    )
    return node("Loop", "m go x", "last states", body=body)


def test_a_loop_stops_by_its_condition_or_its_count_and_is_planned_once() -> None:
    model = model_of(
        [counting_loop()],
        {
            "m": (TensorProto.INT64, []),
            "go": (TensorProto.BOOL, []),
            "x": (TensorProto.FLOAT, []),
        },
        {"last": [], "states": ["k"]},
    )
    go = _core.tensor(True, "bool")
    last, states = model.run([_core.tensor(100, "int64"), go, _core.tensor(0.0)])
    assert (last.item(), states.tolist()) == (10.0, [0.0, 1.0, 3.0, 6.0, 10.0])
    last, states = model.run([_core.tensor(3, "int64"), go, _core.tensor(0.0)])
    assert (last.item(), states.tolist()) == (3.0, [0.0, 1.0, 3.0])
    assert len(list(model.plans())) == 1
    with pytest.raises(PlanError, match="no round"):
        model.run([_core.tensor(0, "int64"), go, _core.tensor(0.0)])


def test_a_scan_goes_both_ways() -> None:
    body = helper.make_graph(
        [node("Add", "sum one", "next"), node("Identity", "next", "seen")],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("sum", "one")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("next", "seen")],
    )
    for reverse, want in ((0, [[1, 2], [4, 6], [9, 12]]), (1, [[9, 12], [8, 10], [5, 6]])):
        scan = node(
            "Scan", "start x", "last all", body=body, num_scan_inputs=1,
            scan_input_directions=[reverse], scan_output_directions=[reverse],
        )  # fmt: skip
        model = model_of(
            [scan],
            {"start": (TensorProto.FLOAT, [2]), "x": (TensorProto.FLOAT, ["n", 2])},
            {"last": None, "all": None},
        )
        last, every = model.run([_core.zeros(2), _core.tensor([[1, 2], [3, 4], [5, 6]])])
        assert (last.tolist(), every.tolist()) == ([9, 12], want)
