"""Model files: what is written is read back, and every way to be wrong is refused."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agent.engine import _core
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.format import HEADER, decode_model, encode_model
from device_agent.engine.graph import Graph, Operator, Port
from device_agent.engine.model import parse_model
from device_agent.engine.ops import OP_SET, Dtype
from tests.helpers.graphs import sealed, two_layers, weight

GOLDEN = Path(__file__).parents[2] / "golden" / "model_v2.hex"


def changed(at: int, layout: str, value: int) -> bytes:
    data = bytearray(encode_model(two_layers()))
    struct.pack_into(layout, data, at, value)
    return sealed(data)


def described(change: Callable[[dict[str, Any]], None]) -> bytes:
    """The file with another graph in place of its own; as long as before."""
    data = bytearray(encode_model(two_layers()))
    _, _, _, _, size, start, *_ = HEADER.unpack_from(data)
    graph = json.loads(data[HEADER.size : HEADER.size + size])
    change(graph)
    text = json.dumps(graph, separators=(",", ":")).encode()
    assert len(text) <= start - HEADER.size + 4096
    grown = -(-(HEADER.size + len(text)) // 64) * 64
    whole = bytearray(data[: HEADER.size] + text.ljust(grown - HEADER.size, b"\0") + data[start:])
    struct.pack_into("<QQQ", whole, 16, len(whole), len(text), grown)
    return sealed(whole)


def test_a_graph_comes_back() -> None:
    back = decode_model(encode_model(two_layers()))
    graph = two_layers()
    assert (back.inputs, back.outputs, back.operators) == (
        graph.inputs,
        graph.outputs,
        graph.operators,
    )
    assert {k: bytes(v.data) for k, v in back.constants.items()} == {
        k: bytes(v.data) for k, v in graph.constants.items()
    }


def test_the_same_graph_gives_the_same_bytes_as_ever() -> None:
    assert encode_model(two_layers()).hex() == GOLDEN.read_text().replace("\n", "")


def test_the_golden_file_still_runs() -> None:
    model = parse_model(bytes.fromhex(GOLDEN.read_text()))
    assert model.inputs == (("x", "float32", (-1, 3)),)
    assert model.outputs == (("probabilities", "float32", (-1, 2)), ("active", "float32", (-1, 2)))
    probabilities, active = model.run(_core.tensor([[1, 1, 1], [3, 3, 3]]))
    assert active.tolist() == [[0.0, 13.0], [7.0, 37.0]]
    assert [round(row[1].item(), 5) for row in probabilities] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("at", "layout", "value", "code"),
    [
        pytest.param(0, "<B", 0, "MODEL_INVALID", id="magic"),
        pytest.param(8, "<I", 1, "MODEL_UNSUPPORTED", id="version"),
        pytest.param(12, "<I", 0, "MODEL_INVALID", id="no op set"),
        pytest.param(12, "<I", OP_SET + 1, "MODEL_UNSUPPORTED", id="newer op set"),
        pytest.param(16, "<Q", 1, "MODEL_INVALID", id="length"),
        pytest.param(24, "<Q", 2**63, "MODEL_INVALID", id="graph past the end"),
        pytest.param(32, "<Q", 2**63, "MODEL_INVALID", id="weights past the end"),
        pytest.param(32, "<Q", 0, "MODEL_INVALID", id="weights in the header"),
        pytest.param(44, "<I", 1, "MODEL_INVALID", id="flags"),
        pytest.param(48, "<Q", 1, "MODEL_INVALID", id="reserved"),
        pytest.param(56, "<Q", 1, "MODEL_INVALID", id="reserved at the end"),
    ],
)
def test_both_readers_check_the_header(at: int, layout: str, value: int, code: str) -> None:
    data = changed(at, layout, value)
    with pytest.raises((ModelInvalid, ModelUnsupported)) as ours:
        decode_model(data)
    refusals = {"MODEL_INVALID": _core.ModelInvalid, "MODEL_UNSUPPORTED": _core.ModelUnsupported}
    with pytest.raises(refusals[code]):
        _core.check_model(data)
    assert ours.value.code == code


def _set(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(graph: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        at: Any = graph
        for name in parents:
            at = at[int(name) if name.isdigit() else name]
        at[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("inputs.0.0", 7),
        ("inputs.0.0", ""),
        ("inputs.0.0", "w"),
        ("inputs.0.1", 0),
        ("inputs.0.1", 99),
        ("inputs.0.2", [-2, 3]),
        ("inputs.0.2", [1] * 9),
        ("inputs.0.2", [1.5]),
        ("inputs.0.2", [True]),
        ("inputs.0.2", None),
        ("inputs", 3),
        ("outputs", []),
        ("outputs.0.0", "nowhere"),
        ("constants.0.3", 8),
        ("constants.0.3", -64),
        ("constants.0.3", 2**62),
        ("constants.0.4", 20),
        ("constants.0.2", [2**62, 4]),
        ("constants.0.2", [-1, 3]),
        ("constants.0.1", 6),
        ("constants.1.0", "w"),
        ("operators.0.1", ["x"]),
        ("operators.0.1", ["x", "active"]),
        ("operators.0.1.0", 3),
        ("operators.0.1", ["x", ""]),
        ("operators.0.2", []),
        ("operators.0.2", ["x"]),
        ("operators.0.2", ["a", "b"]),
        ("operators.0.3", {"unknown": 1}),
        ("operators.0.3", {"transA": 1.5}),
        ("operators.0.3", {"transA": 2**63}),
        ("operators.0.3", {"alpha": "much"}),
        ("operators.0.3", {"alpha": [1]}),
        ("operators.0.3", {"alpha": {"inputs": [], "outputs": [], "operators": []}}),
        ("operators.0", ["relu"]),
        ("operators", {"a": 1}),
        ("more", 1),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_is_refused(path: str, value: object) -> None:
    with pytest.raises(ModelInvalid):
        decode_model(described(_set(path, value)))
    with pytest.raises(ModelInvalid):
        parse_model(described(_set(path, value)))


def test_an_operator_that_the_op_set_lacks_is_unsupported() -> None:
    for name in ("warp_drive", 5, None):
        with pytest.raises(ModelUnsupported, match=str(name)):
            decode_model(described(_set("operators.1.0", name)))


def test_a_graph_that_is_no_json_is_refused() -> None:
    data = encode_model(two_layers())
    for bad in (b"\xff", b"[", b"\0"):
        broken = bytearray(data)
        broken[HEADER.size : HEADER.size + 1] = bad
        with pytest.raises(ModelInvalid, match="cannot be read"):
            decode_model(sealed(broken))
    deep = bytearray(encode_model(two_layers()))
    size = HEADER.unpack_from(deep)[4]
    deep[HEADER.size : HEADER.size + size] = b"[" * size
    with pytest.raises(ModelInvalid):
        decode_model(sealed(deep))


def test_every_cut_and_every_flipped_byte_is_refused() -> None:
    data = encode_model(two_layers())
    for size in range(0, len(data), 3):
        with pytest.raises(_core.ModelInvalid):
            _core.check_model(data[:size])
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x40
        with pytest.raises((_core.ModelInvalid, _core.ModelUnsupported)):
            _core.check_model(bytes(broken))


def _with(**parts: Any) -> Graph:
    return replace(two_layers(), **parts)


@pytest.mark.parametrize(
    "graph",
    [
        _with(outputs=()),
        _with(inputs=()),
        _with(inputs=(Port(name="x", dtype=Dtype.FLOAT32),)),
        _with(inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=(1,) * 9),)),
        _with(constants={"w": replace(weight((3, 2), *range(6)), data=b"1234"), "b": weight((2,), 1, 2)}),
        _with(operators=two_layers().operators * 2),
        _with(operators=(Operator(op="relu", inputs=("x", "x"), outputs=("active",)),)),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(graph: Graph) -> None:
    with pytest.raises(ModelInvalid):
        encode_model(graph)


def test_a_part_sees_the_graph_around_it_and_lies_only_so_deep() -> None:
    body = Graph(
        inputs=(Port(name="i"), Port(name="go")),
        outputs=(Port(name="go"), Port(name="sum")),
        operators=(Operator(op="add", inputs=("x", "x"), outputs=("sum",)),),
    )
    loop = Operator(op="loop", inputs=("n",), outputs=("every",), attributes={"body": body})
    graph = Graph(
        inputs=(
            Port(name="x", dtype=Dtype.FLOAT32, shape=(2,)),
            Port(name="n", dtype=Dtype.INT64, shape=()),
        ),
        outputs=(Port(name="every"),),
        operators=(loop,),
    )
    assert decode_model(encode_model(graph)).operators == graph.operators
    for _ in range(12):
        inner = replace(loop, attributes={"body": body})
        body = replace(body, operators=(replace(inner, inputs=("i",), outputs=("sum",)),))
    with pytest.raises(ModelInvalid, match="deep"):
        encode_model(replace(graph, operators=(replace(loop, attributes={"body": body}),)))


def test_weights_are_aligned() -> None:
    more = {**two_layers().constants, "one": weight((1,), 1), "two": weight((2,), 1, 2)}
    back = decode_model(encode_model(replace(two_layers(), constants=more)))
    starts = [constant.start for constant in back.constants.values()]
    assert all(start % 64 == 0 for start in starts)
    assert len(set(starts)) == 4


def test_special_numbers_of_attributes_come_back() -> None:
    clip = Operator(op="elu", inputs=("x",), outputs=("y",), attributes={"alpha": float("-inf")})
    graph = replace(two_layers(), operators=(clip,), outputs=(Port(name="y"),))
    assert decode_model(encode_model(graph)).operators == (clip,)
