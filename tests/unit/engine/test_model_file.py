"""Model files: what is written is read back, and every way to be wrong is refused by both readers alike."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.engine import _core
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.format import decode_model, encode_model
from device_agent.engine.graph import Kind, Operator, TensorInfo
from device_agent.engine.ops import BY_ID, OP_SET, Dtype, OpId
from tests.helpers.graphs import sealed, two_layers, weight

GOLDEN = Path(__file__).parents[2] / "golden" / "model_v1.hex"
RECORDS = 64  # where tensors begin
OPERATORS = RECORDS + 6 * 80
INDICES = OPERATORS + 3 * 16


def changed(at: int, layout: str, value: int) -> bytes:
    data = bytearray(encode_model(two_layers()))
    struct.pack_into(layout, data, at, value)
    return sealed(data)


def refused(data: bytes) -> str:
    """Both readers refuse, for the same fault; gives its code."""
    with pytest.raises((ModelInvalid, ModelUnsupported)) as ours:
        decode_model(data)
    refusals = {"MODEL_INVALID": _core.ModelInvalid, "MODEL_UNSUPPORTED": _core.ModelUnsupported}
    with pytest.raises(refusals[ours.value.code]):
        _core.parse_model(data)
    return ours.value.code


def test_a_graph_comes_back() -> None:
    assert decode_model(encode_model(two_layers())) == two_layers()


def test_the_same_graph_gives_the_same_bytes_as_ever() -> None:
    data = encode_model(two_layers())
    assert data.hex() == GOLDEN.read_text().replace("\n", "")


def test_the_golden_file_still_runs() -> None:
    model = _core.parse_model(bytes.fromhex(GOLDEN.read_text()))
    assert model.inputs == (("x", "float32", (-1, 3)),)
    assert model.outputs == (
        ("probabilities", "float32", (-1, 2)),
        ("active", "float32", (-1, 2)),
    )
    probabilities, active = model.run(_core.tensor([[1, 1, 1], [3, 3, 3]]))
    assert active.tolist() == [[0.0, 13.0], [7.0, 37.0]]
    assert [round(row[1].item(), 5) for row in probabilities] == [1.0, 1.0]


def test_a_file_names_the_smallest_op_set_that_has_what_it_uses() -> None:
    assert struct.unpack_from("<I", encode_model(two_layers()), 12) == (1,), "older engines read it"
    graph = two_layers()
    first = replace(graph.operators[1], op=OpId.ABSOLUTE)
    newer = replace(graph, operators=(graph.operators[0], first, *graph.operators[2:]))
    assert (BY_ID[graph.operators[1].op].since, BY_ID[OpId.ABSOLUTE].since) == (1, 2)
    data = encode_model(newer)
    assert struct.unpack_from("<I", data, 12) == (2,)
    assert decode_model(data) == newer
    assert _core.parse_model(data).inputs == (("x", "float32", (-1, 3)),)


@pytest.mark.parametrize(
    ("at", "layout", "value", "code"),
    [
        pytest.param(0, "<B", 0, "MODEL_INVALID", id="magic"),
        pytest.param(8, "<I", 2, "MODEL_UNSUPPORTED", id="version"),
        pytest.param(12, "<I", 0, "MODEL_INVALID", id="no op set"),
        pytest.param(12, "<I", OP_SET + 1, "MODEL_UNSUPPORTED", id="newer op set"),
        pytest.param(OPERATORS, "<H", OpId.ABSOLUTE, "MODEL_UNSUPPORTED", id="newer operator"),
        pytest.param(16, "<Q", 1, "MODEL_INVALID", id="length"),
        pytest.param(24, "<I", 2**32 - 1, "MODEL_INVALID", id="tensor count"),
        pytest.param(24, "<I", 60_000, "MODEL_INVALID", id="tensors past the end"),
        pytest.param(28, "<I", 2**32 - 1, "MODEL_INVALID", id="operator count"),
        pytest.param(32, "<I", 2**32 - 1, "MODEL_INVALID", id="index count"),
        pytest.param(36, "<I", 2**32 - 1, "MODEL_INVALID", id="attribute count"),
        pytest.param(40, "<I", 2**32 - 1, "MODEL_INVALID", id="names"),
        pytest.param(44, "<H", 0, "MODEL_INVALID", id="unlisted input"),
        pytest.param(44, "<H", 65_535, "MODEL_INVALID", id="too many inputs"),
        pytest.param(46, "<H", 0, "MODEL_INVALID", id="no outputs"),
        pytest.param(48, "<I", 1, "MODEL_INVALID", id="flags"),
        pytest.param(56, "<Q", 1, "MODEL_INVALID", id="reserved"),
        pytest.param(RECORDS + 0, "<I", 2**31, "MODEL_INVALID", id="name start"),
        pytest.param(RECORDS + 4, "<H", 65_535, "MODEL_INVALID", id="name length"),
        pytest.param(RECORDS + 6, "<B", 3, "MODEL_INVALID", id="kind"),
        pytest.param(RECORDS + 6, "<B", 0, "MODEL_INVALID", id="input with a shape computed"),
        pytest.param(RECORDS + 7, "<B", 9, "MODEL_INVALID", id="dtype"),
        pytest.param(RECORDS + 8, "<B", 7, "MODEL_INVALID", id="rank"),
        pytest.param(RECORDS + 9, "<B", 1, "MODEL_INVALID", id="padding"),
        pytest.param(RECORDS + 16, "<Q", 64, "MODEL_INVALID", id="input with contents"),
        pytest.param(RECORDS + 32, "<q", -2, "MODEL_INVALID", id="negative axis"),
        pytest.param(RECORDS + 40, "<q", -1, "MODEL_INVALID", id="second axis open"),
        pytest.param(RECORDS + 48, "<q", 1, "MODEL_INVALID", id="axis past the rank"),
        pytest.param(RECORDS + 80 + 16, "<Q", 1, "MODEL_INVALID", id="weight unaligned"),
        pytest.param(RECORDS + 80 + 16, "<Q", 0, "MODEL_INVALID", id="weight in the header"),
        pytest.param(RECORDS + 80 + 16, "<Q", 2**63, "MODEL_INVALID", id="weight far away"),
        pytest.param(RECORDS + 80 + 24, "<Q", 28, "MODEL_INVALID", id="weight length"),
        pytest.param(RECORDS + 80 + 32, "<q", 2**62, "MODEL_INVALID", id="weight too big"),
        pytest.param(OPERATORS + 0, "<H", 999, "MODEL_UNSUPPORTED", id="operator"),
        pytest.param(OPERATORS + 2, "<B", 9, "MODEL_INVALID", id="inputs of an operator"),
        pytest.param(OPERATORS + 3, "<B", 3, "MODEL_INVALID", id="attributes of an operator"),
        pytest.param(OPERATORS + 4, "<I", 2**32 - 1, "MODEL_INVALID", id="index start"),
        pytest.param(OPERATORS + 8, "<I", 2**32 - 1, "MODEL_INVALID", id="attribute start"),
        pytest.param(OPERATORS + 12, "<I", 1, "MODEL_INVALID", id="operator padding"),
        pytest.param(INDICES, "<I", 6, "MODEL_INVALID", id="index of no tensor"),
        pytest.param(INDICES, "<I", 5, "MODEL_INVALID", id="use before making"),
        pytest.param(INDICES + 12, "<I", 1, "MODEL_INVALID", id="constant overwritten"),
    ],
)
def test_each_check_refuses(at: int, layout: str, value: int, code: str) -> None:
    assert refused(changed(at, layout, value)) == code


def test_a_name_that_is_not_utf8_is_refused() -> None:
    data = encode_model(two_layers())
    at = data.index(b"probabilities")
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"):
        broken = bytearray(data)
        broken[at : at + len(bad)] = bad
        assert refused(sealed(broken)) == "MODEL_INVALID"


def test_every_cut_and_every_flipped_byte_is_refused() -> None:
    data = encode_model(two_layers())
    for size in range(len(data)):
        with pytest.raises(_core.ModelInvalid):
            _core.parse_model(data[:size])
    for at in range(len(data)):
        broken = bytearray(data)
        broken[at] ^= 0x40
        refused(bytes(broken))


@pytest.mark.parametrize(
    "operator",
    [
        Operator(op=OpId.ADD, inputs=(0, 1), output=3),
        Operator(op=OpId.MATMUL, inputs=(0, 2), output=3),
        Operator(op=OpId.SOFTMAX, inputs=(0,), output=3, attributes=(5,)),
        Operator(op=OpId.RESHAPE, inputs=(0,), output=3, attributes=(7, 7)),
        Operator(op=OpId.CAST, inputs=(0,), output=3, attributes=(77,)),
        Operator(op=OpId.TRANSPOSE, inputs=(0,), output=3, attributes=(0, 0)),
        Operator(op=OpId.SLICE, inputs=(0,), output=3, attributes=(0, 0, 1, 0)),
    ],
    ids=lambda operator: operator.op.name,
)
def test_shapes_that_do_not_fit_are_refused_when_loading(operator: Operator) -> None:
    graph = two_layers()
    changed_graph = replace(graph, operators=(operator, *graph.operators[1:]))
    with pytest.raises(_core.ModelInvalid):
        _core.parse_model(encode_model(changed_graph))


def test_what_cannot_be_written_is_refused() -> None:
    graph = two_layers()
    too_short = replace(graph.tensors[1], data=b"1234")
    seven = TensorInfo(name="y", kind=Kind.INPUT, dtype=Dtype.FLOAT32, shape=(1,) * 7)
    wrong = (
        replace(graph, outputs=()),
        replace(graph, inputs=()),
        replace(graph, tensors=(graph.tensors[0], too_short, *graph.tensors[2:])),
        replace(graph, tensors=(*graph.tensors, seven), inputs=(0, 6)),
        replace(graph, operators=(*graph.operators, graph.operators[0])),
        replace(graph, operators=(Operator(op=OpId.RELU, inputs=(0, 1), output=3),)),
        replace(
            graph,
            operators=(
                Operator(op=OpId.SOFTMAX, inputs=(0,), output=3, attributes=(0.5,)),
                *graph.operators[1:],
            ),
        ),
    )
    for each in wrong:
        with pytest.raises(ModelInvalid):
            encode_model(each)


def test_weights_are_aligned() -> None:
    tensors = (*two_layers().tensors, weight("one", (1,), 1), weight("two", (2,), 1, 2))
    data = encode_model(replace(two_layers(), tensors=tensors))
    starts = [
        struct.unpack_from("<Q", data, RECORDS + 80 * i + 16)[0]
        for i, tensor in enumerate(tensors)
        if tensor.kind is Kind.CONSTANT
    ]
    assert all(start % 64 == 0 for start in starts)
    assert len(set(starts)) == 4
