"""Weights in fewer bits: smaller files, results within what the bits allow, and what cannot be narrowed left alone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cloud.compiler.compile import compile_onnx
from cloud.compiler.narrowing import Weights, narrowed
from cloud.compiler.settings import LIMITS
from device_agent.engine import _core
from device_agent.engine.format import decode_model, encode_model, needed_op_set
from device_agent.engine.graph import Constant, Graph, Operator, Port
from device_agent.engine.model import Model
from device_agent.engine.ops import Dtype
from tests.helpers.arrays import LEVELS, Array, Level, tensor_of
from tests.helpers.graphs import node, onnx_model
from tests.helpers.walle_models import MODELS, feeds_of

HALVES = (Weights.FLOAT16, Weights.BFLOAT16)
# Of the largest number of a result.
TOLERANCE = {Weights.FLOAT16: 5e-3, Weights.BFLOAT16: 4e-2, Weights.INT8: 4e-2}
DEEP = 0.1  # of 8 bits through the 35 rounded convolutions of a MobileNet-V2 that nobody trained


def constant(array: Array) -> Constant:
    return Constant(dtype=Dtype.FLOAT32, shape=array.shape, data=array.astype(np.float32).tobytes())


def graph_of(op: str, weights: Array, shape: tuple[int, ...], at: int = 1) -> Graph:
    """One operator over an input and a constant."""
    names = ("x", "w") if at else ("w", "x")
    dtype = Dtype.INT64 if op == "gather" else Dtype.FLOAT32
    return Graph(
        inputs=(Port(name="x", dtype=dtype, shape=shape),),
        outputs=(Port(name="y"),),
        operators=(Operator(op=op, inputs=names, outputs=("y",)),),
        constants={"w": constant(weights)},
    )


def run(graph: Graph, *arrays: Array, level: Level | None = None) -> Array:
    (made,) = Model(_core.check_model(encode_model(graph))).run(
        [tensor_of(a) for a in arrays], level=level
    )
    return np.asarray(made)


def rounded_product(x: Array, columns: Array) -> Array:
    """What dynamic quantisation of rows and columns means, spelled out."""
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    rows = np.abs(flat).max(1, keepdims=True) / 127
    scales = np.abs(columns).max(0) / 127
    whole = np.rint(np.divide(flat, rows, where=rows > 0, out=np.zeros_like(flat)))
    weights = np.rint(columns / np.where(scales > 0, scales, 1))
    return np.asarray((whole @ weights * rows * scales).reshape(*x.shape[:-1], -1))


@pytest.mark.parametrize("name", ["squeezenet", "mobilenet_v2", "din"])
@pytest.mark.parametrize("weights", [*HALVES, Weights.INT8])
def test_models_keep_their_results(name: str, weights: Weights) -> None:
    data, feeds = MODELS[name](), feeds_of(MODELS[name](), 0)
    tensors = {port: tensor_of(array) for port, array in feeds.items()}
    whole, narrow = compile_onnx(data), compile_onnx(data, weights)
    assert len(narrow) < 0.62 * len(whole)
    (one,) = Model(_core.check_model(whole)).run(tensors)
    (other,) = Model(_core.check_model(narrow)).run(tensors)
    wanted, made = np.asarray(one), np.asarray(other)
    assert not np.array_equal(wanted, made)
    deep = name == "mobilenet_v2" and weights is Weights.INT8
    assert (
        np.abs(wanted - made).max() < (DEEP if deep else TOLERANCE[weights]) * np.abs(wanted).max()
    )


def test_only_products_of_eight_bits_need_a_newer_engine() -> None:
    weights = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
    graph = graph_of("mat_mul", weights, (5, 64))
    assert [needed_op_set(narrowed(graph, one)) for one in Weights] == [3, 3, 3, 4]


@settings(max_examples=80, deadline=None)
@given(
    lead=st.lists(st.integers(1, 9), min_size=1, max_size=2),
    k=st.integers(16, 150),
    n=st.integers(16, 90),
    level=st.sampled_from(LEVELS),
)
def test_a_product_of_eight_bits_is_what_it_says(
    lead: list[int], k: int, n: int, level: Level
) -> None:
    random = np.random.default_rng(k * n)
    columns = random.standard_normal((k, n)).astype(np.float32)
    x = random.standard_normal((*lead, k)).astype(np.float32)
    graph = narrowed(graph_of("mat_mul", columns, x.shape), Weights.INT8)
    assert [one.op for one in graph.operators] == ["quantized_mat_mul"]
    wanted = rounded_product(x, columns)
    # A number between two steps may go either way.
    np.testing.assert_allclose(run(graph, x, level=level), wanted, atol=np.abs(wanted).max() * 2e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_weights_that_are_computed_are_multiplied_alike(level: Level) -> None:
    """The core's own step against the packed kernel: the same integers."""
    random = np.random.default_rng(3)
    x = random.standard_normal((7, 50)).astype(np.float32)
    whole = random.integers(-127, 128, (50, 33)).astype(np.int8)
    scales = random.uniform(0.01, 0.1, 33).astype(np.float32)
    given = {"w": whole, "s": scales}
    held = {
        name: Constant(
            dtype=Dtype.INT8 if array.dtype == np.int8 else Dtype.FLOAT32,
            shape=array.shape,
            data=array.tobytes(),
        )
        for name, array in given.items()
    }
    product = Operator(op="quantized_mat_mul", inputs=("x", "w", "s"), outputs=("y",))
    packed = Graph(
        inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=x.shape),),
        outputs=(Port(name="y"),),
        operators=(product,),
        constants=held,
    )
    ports = [Port(name=n, dtype=c.dtype, shape=c.shape) for n, c in held.items()]
    computed = replace(packed, inputs=(*packed.inputs, *ports), constants={})
    np.testing.assert_array_equal(
        run(packed, x, level=level), run(computed, x, whole, scales, level=level)
    )


@pytest.mark.parametrize("bias", ["", "b", "full"])
@pytest.mark.parametrize("behind", ["", "Relu", "Mul"])
@pytest.mark.parametrize("turned", [False, True])
def test_gemm_keeps_what_it_adds(bias: str, behind: str, turned: bool) -> None:
    random = np.random.default_rng(5)
    columns = random.standard_normal((40, 30)).astype(np.float32)
    constants = {
        "w": columns.T.copy() if turned else columns,
        "b": random.standard_normal(30).astype(np.float32),
        "full": random.standard_normal((6, 30)).astype(np.float32),
    }
    x = random.standard_normal((6, 40)).astype(np.float32)
    read = f"x w {bias}" if bias else "x w"
    nodes = [node("Gemm", read, "g" if behind else "y", transB=int(turned))]
    if behind:
        nodes.append(node(behind, "g b" if behind == "Mul" else "g", "y"))
    file = compile_onnx(onnx_model(nodes, {"x": x.shape}, ["y"], constants), Weights.INT8)
    (made,) = Model(_core.check_model(file)).run([tensor_of(x)])
    wanted = rounded_product(x, columns) + (constants[bias] if bias else 0)
    if behind:
        wanted = np.maximum(wanted, 0) if behind == "Relu" else wanted * constants["b"]
    np.testing.assert_allclose(np.asarray(made), wanted, atol=np.abs(wanted).max() * 2e-3)


@pytest.mark.parametrize("weights", [*HALVES, Weights.INT8])
def test_a_table_is_widened_where_it_was_taken_from(weights: Weights) -> None:
    table = np.random.default_rng(2).standard_normal((100, 16)).astype(np.float32)
    graph = narrowed(graph_of("gather", table, (3,), at=0), weights)
    assert [one.op for one in graph.operators] == ["gather", "cast"]
    places = np.array([5, 99, 0])
    np.testing.assert_allclose(run(graph, places), table[places], rtol=2**-8)


def test_brain_halves_are_rounded_to_the_even_one() -> None:
    """Bits of float32 between two bfloat16: below, at and above the middle."""
    bits = np.array([0x3F807FFF, 0x3F808000, 0x3F808001, 0x3F818000, 0xBF818000], np.uint32)
    table = np.tile(bits.view(np.float32), (LIMITS.narrowed_elements_min, 1))
    graph = narrowed(graph_of("gather", table, (1,), at=0), Weights.BFLOAT16)
    made = run(graph, np.array([0])).view(np.uint32)
    assert [hex(one) for one in made[0]] == [
        "0x3f800000", "0x3f800000", "0x3f810000", "0x3f820000", "0xbf820000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("weights", "spoil"),
    [
        (Weights.FLOAT16, 70_000.0),
        (Weights.BFLOAT16, np.finfo(np.float32).max),
        (Weights.INT8, np.inf),
        (Weights.BFLOAT16, np.nan),
    ],
)
def test_what_a_type_cannot_hold_stays(weights: Weights, spoil: float) -> None:
    matrix = np.ones((32, 32), np.float32)
    matrix[3, 4] = spoil
    graph = graph_of("mat_mul", matrix, (5, 32))
    assert narrowed(graph, weights) == graph


@pytest.mark.parametrize("weights", [*HALVES, Weights.INT8])
def test_small_constants_stay(weights: Weights) -> None:
    graph = graph_of("mat_mul", np.ones((5, 3), np.float32), (2, 5))
    assert narrowed(graph, weights) == graph


@pytest.mark.parametrize("weights", [*HALVES, Weights.INT8])
def test_parts_of_control_operators_are_narrowed_too(weights: Weights) -> None:
    random = np.random.default_rng(8)
    matrix = random.standard_normal((20, 20)).astype(np.float32)
    port = helper.make_tensor_value_info

    def branch(op: str) -> object:
        nodes = [helper.make_node(op, ["x", "w"], [f"{op}_y"])]
        return helper.make_graph(nodes, op, [], [port(f"{op}_y", TensorProto.FLOAT, (20, 20))])

    choice = helper.make_node(
        "If", ["c"], ["y"], then_branch=branch("MatMul"), else_branch=branch("Add")
    )
    model = helper.make_model(
        helper.make_graph(
            [choice],
            "choice",
            [port("c", TensorProto.BOOL, ()), port("x", TensorProto.FLOAT, (20, 20))],
            [port("y", TensorProto.FLOAT, (20, 20))],
            [numpy_helper.from_array(matrix, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    file = compile_onnx(model.SerializeToString(), weights)
    assert all(
        one.dtype != Dtype.FLOAT32 or len(one.shape) < 2
        for one in decode_model(file).constants.values()
    )
    compiled = Model(_core.check_model(file))
    x = random.standard_normal((20, 20)).astype(np.float32)
    for chosen, wanted in ((True, x @ matrix), (False, x + matrix)):
        (made,) = compiled.run([tensor_of(np.array(chosen)), tensor_of(x)])
        np.testing.assert_allclose(np.asarray(made), wanted, atol=np.abs(wanted).max() * 0.02)


def test_float32_changes_nothing() -> None:
    graph = graph_of("mat_mul", np.ones((32, 32), np.float32), (5, 32))
    assert narrowed(graph, Weights.FLOAT32) is graph
