"""Compiling: what is folded, dropped and named; and what is refused, all at once and by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_file, compile_onnx
from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported
from device_agent import failpoint
from device_agent.engine import _core
from device_agent.engine.format import decode_model
from device_agent.engine.model import load_model, parse_model
from tests.helpers.graphs import node, onnx_model

TINY = onnx_model([node("Relu", "x", "y")], {"x": ["n", 3]}, ["y"])


def operators(data: bytes) -> list[str]:
    return [operator.op for operator in decode_model(compile_onnx(data)).operators]


def refusals(data: bytes) -> list[tuple[str, str]]:
    with pytest.raises(OnnxUnsupported) as refusal:
        compile_onnx(data)
    for row in refusal.value.operators:
        assert str(row) in str(refusal.value)
    return [(row.operator, row.node) for row in refusal.value.operators]


def test_names_and_the_batch_are_kept() -> None:
    model = parse_model(compile_onnx(TINY))
    assert model.inputs == (("x", "float32", (-1, 3)),)
    assert model.outputs == (("y", "float32", (-1, 3)),)


def test_the_same_model_gives_the_same_bytes() -> None:
    assert compile_onnx(TINY) == compile_onnx(TINY)


def test_constants_are_folded() -> None:
    nodes = [
        node("Constant", "", "two", value=numpy_helper.from_array(np.array(2, np.float32))),
        node("Mul", "two w", "doubled"),
        node("Transpose", "doubled", "turned", perm=[1, 0]),
        node("MatMul", "x turned", "y"),
    ]
    data = onnx_model(nodes, {"x": ["n", 2]}, ["y"], {"w": np.eye(3, 2, dtype=np.float32)})
    assert operators(data) == ["mat_mul"]
    made = parse_model(compile_onnx(data)).run(_core.tensor([[1, 2]]))[0]
    assert made.tolist() == [[2, 4, 0]]


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [node("Relu", "x", "y"), node("Gelu", "x", "unused"), node("Add", "x w", "unused2")]
    data = onnx_model(nodes, {"x": ["n", 2]}, ["y"], {"w": np.zeros(2, np.float32)}, opset=20)
    assert operators(data) == ["relu"]
    assert not decode_model(compile_onnx(data)).constants


def test_what_hangs_on_constants_only_is_computed_once_for_a_session() -> None:
    nodes = [node("Gemm", "x t", "y", transB=1), node("Erf", "w", "t")][::-1]
    constants = {"w": np.arange(10, dtype=np.float32).reshape(5, 2)}
    model = parse_model(compile_onnx(onnx_model(nodes, {"x": ["n", 2]}, ["y"], constants)))
    assert model.run(_core.zeros((3, 2)))[0].shape == (3, 5)
    (stage,) = model.plans()
    assert (stage.plan.prologue, stage.plan.steps) == (1, 1)


def test_an_output_that_is_an_input_keeps_its_own_name() -> None:
    model = parse_model(
        compile_onnx(onnx_model([node("Identity", "x", "y")], {"x": ["n", 2]}, ["y"]))
    )
    assert model.outputs == (("y", "float32", (-1, 2)),)
    assert model.run(_core.tensor([[1, 2]]))[0].tolist() == [[1, 2]]


def test_batch_normalisation_becomes_one_pass() -> None:
    nodes = [node("BatchNormalization", "x s b m v", "y")]
    constants = {name: np.ones(4, np.float32) for name in "sbmv"}
    model = parse_model(compile_onnx(onnx_model(nodes, {"x": ["n", 4, 2]}, ["y"], constants)))
    model.run(_core.zeros((1, 4, 2)))
    (stage,) = model.plans()
    assert stage.plan.steps == 1, "its scale and its shift are a chain"


@pytest.mark.parametrize(
    "made",
    [node("Clip", "x pair pair", "y"), node("Slice", "x pair single", "y")],
    ids=lambda made: made.op_type,
)
def test_constants_that_do_not_fit_are_refused_by_name(made: onnx.NodeProto) -> None:
    constants = {"single": np.array([1])}
    constants["pair"] = np.array([0, 0], np.float32 if made.op_type == "Clip" else np.int64)
    graph = onnx.load_model_from_string(TINY)
    graph.graph.node[0].CopyFrom(made)
    for name, value in constants.items():
        graph.graph.initializer.append(numpy_helper.from_array(value, name))
    with pytest.raises((OnnxUnsupported, OnnxInvalid)):
        compile_onnx(graph.SerializeToString())


def test_every_unsupported_operator_is_named_and_only_those() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("RandomNormalLike", "a", "b", "first"),
        node("Tanh", "b", "c"),
        node("RandomUniformLike", "c", "d", "second"),
        node("Relu", "x", "e"),
        node("RandomUniformLike", "d", "y"),
    ]
    rows = refusals(onnx_model(nodes, {"x": ["n", 2]}, ["y"]))
    assert rows == [
        ("RandomNormalLike", "first"),
        ("RandomUniformLike", "second"),
        ("RandomUniformLike", "#5 (y)"),
    ]


def test_an_unsupported_operator_inside_a_branch_is_named_with_its_place() -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])
        return helper.make_graph([node(op, "x", name)], name, [], [out])

    made = node(
        "If",
        "c",
        "y",
        "choice",
        then_branch=branch("a", "Relu"),
        else_branch=branch("b", "RandomNormalLike"),
    )
    graph = helper.make_graph(
        [made],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert refusals(model.SerializeToString()) == [
        ("RandomNormalLike", "choice/else_branch/#0 (b)")
    ]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (node("Cast", "x", "y", to=TensorProto.STRING), "no type STRING"),
        (node("RandomNormalLike", "x", "y"), "no such operator"),
    ],
    ids=lambda value: getattr(value, "op_type", ""),
)
def test_uses_that_are_not_supported_say_why(made: onnx.NodeProto, says: str) -> None:
    shapes: dict[str, list[str | int | None]] = {"x": ["n", 2], "s": [2], "shape": [1], "k": [1]}
    graph = helper.make_graph(
        [made],
        "graph",
        [
            helper.make_tensor_value_info(
                name,
                TensorProto.INT64 if name in ("shape", "k") else TensorProto.FLOAT,
                shapes[name],
            )
            for name in dict.fromkeys(made.input)
        ],
        [onnx.ValueInfoProto(name="y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(OnnxUnsupported, match=says) as refusal:
        compile_onnx(onnx.shape_inference.infer_shapes(model).SerializeToString())
    assert [row.operator for row in refusal.value.operators] == [made.op_type]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "1 to"),
        (b"hello, this is no model", "protobuf|no graph|ONNX"),
        (TINY[:-5], "ONNX"),
        (b"\0" * 100, "ONNX"),
    ],
)
def test_bytes_that_are_no_model_are_invalid(data: bytes, says: str) -> None:
    with pytest.raises(OnnxInvalid, match=says) as refusal:
        compile_onnx(data)
    assert refusal.value.code == "MODEL_INVALID"


def test_every_cut_is_refused_or_compiles() -> None:
    for size in range(len(TINY)):
        try:
            compile_onnx(TINY[:size])
        except (OnnxInvalid, OnnxUnsupported):
            continue


def test_shapes_that_do_not_fit_are_invalid() -> None:
    data = onnx_model([node("Relu", "x", "y")], {"x": ["n", 3]}, ["y"])
    model = onnx.load_model_from_string(data)
    model.graph.node[0].CopyFrom(node("MatMul", "x w", "y"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 2), np.float32), "w"))
    with pytest.raises(OnnxInvalid):
        compile_onnx(model.SerializeToString())


def test_weights_in_other_files_are_refused() -> None:
    model = onnx.load_model_from_string(TINY)
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(3, np.float32), "w"))
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    with pytest.raises(OnnxUnsupported, match="another file"):
        compile_onnx(model.SerializeToString())


def test_any_axis_of_an_input_may_be_open() -> None:
    model = parse_model(
        compile_onnx(onnx_model([node("Relu", "x", "y")], {"x": ["n", "m"]}, ["y"]))
    )
    assert model.inputs == (("x", "float32", (-1, -1)),)
    for shape in ((1, 2), (3, 0), (2, 5)):
        assert model.run(_core.zeros(shape))[0].shape == shape


def test_inputs_of_other_types_are_refused() -> None:
    with pytest.raises(OnnxUnsupported, match="type that the op set lacks"):
        compile_onnx(
            onnx_model([node("Identity", "x", "y")], {"x": ["n"]}, ["y"], dtype=TensorProto.STRING)
        )


def test_a_graph_whose_fixed_shapes_do_not_fit_is_refused_when_compiling() -> None:
    nodes = [node("Reshape", "x shape", "y")]
    data = onnx_model(nodes, {"x": [2, 3]}, ["y"], {"shape": np.array([2, 3])})
    model = onnx.load_model_from_string(data)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([7, 5]), "shape"))
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(OnnxInvalid):
        compile_onnx(model.SerializeToString())


def test_old_operator_sets_are_refused() -> None:
    with pytest.raises(OnnxUnsupported, match="older than 6"):
        compile_onnx(onnx_model([node("Relu", "x", "y")], {"x": ["n", 2]}, ["y"], opset=5))


def test_other_domains_are_refused() -> None:
    made = node("Relu", "x", "y", "mine")
    made.domain = "com.example"
    model = onnx.load_model_from_string(TINY)
    model.graph.node[0].CopyFrom(made)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    assert refusals(model.SerializeToString()) == [("Relu", "mine")]


def test_a_file_appears_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "m.shoalmodel"
    source.write_bytes(TINY)
    assert compile_file(source, target) == target.stat().st_size
    assert load_model(str(target)).outputs[0][0] == "y"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "m.shoalmodel"
    source.write_bytes(b"no model")
    target.write_bytes(b"old")
    with pytest.raises(OnnxInvalid):
        compile_file(source, target)
    source.write_bytes(TINY)

    def stop(_: str) -> None:
        raise InterruptedError

    failpoint.arm(stop)
    try:
        with pytest.raises(InterruptedError):
            compile_file(source, target)
    finally:
        failpoint.arm(None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.shoalmodel"]
    assert target.read_bytes() == b"old"
    with pytest.raises(FileNotFoundError):
        compile_file(tmp_path / "missing", target)
