"""The compiled model file, `.shoalmodel`, version 2.

Rules of this module:

- Standard library only. native/model/format.h says the same header.
- Little-endian, bounded, checksummed; unknown versions, op sets, operators and attributes are refused. Every count,
  name, order, offset and length is checked before it is used. (That shapes agree is checked when a plan is made.)
- The same graph gives the same bytes.

Layout: header | graph as JSON, UTF-8 | weights, each at a multiple of 64 so that mapped weights are aligned:

    {"inputs": [[name, dtype, shape]], "outputs": [[name, dtype, shape]],
     "constants": [[name, dtype, shape, start, bytes]],
     "operators": [[operator, [input], [output], {attribute: value}]]}

A part (a branch, a loop's body) is an attribute that is such an object without constants. The checksum is CRC-32 of the
whole file with its own field zero: against damage. Who made the file is the signature's matter, not this one's.
"""

import binascii
import json
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from device_agent.engine.check import attribute_kinds, check_graph
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.graph import Attribute, Constant, Graph, Operator, Port
from device_agent.engine.ops import BY_NAME, OP_SET, OPEN_AXIS, Dtype
from device_agent.engine.settings import LIMITS

MAGIC = b"SHOALMDL"
VERSION = 2
ALIGNMENT = 64
HEADER = struct.Struct("<8sIIQQQII16s")
CHECKSUM_AT = 40
assert HEADER.size == 64

_SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def encode_model(graph: Graph) -> bytes:
    """The file of a graph.

    Raises:
        ModelInvalid: the graph breaks a rule of the format or is over a limit.
        ModelUnsupported: it has an operator that the op set lacks.
    """
    check_graph(graph, OP_SET)
    rows, starts, size = [], [], 0
    for name, constant in graph.constants.items():
        size = _padded(size)
        rows.append([name, int(constant.dtype), list(constant.shape), size, len(constant.data)])
        starts.append(size)
        size += len(constant.data)
    described = {**_part(graph), "constants": rows}
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    start = _padded(HEADER.size + len(text))
    data = bytearray(start + size)
    for at, constant in zip(starts, graph.constants.values(), strict=True):
        data[start + at : start + at + len(constant.data)] = constant.data
    data[HEADER.size : HEADER.size + len(text)] = text
    fields = (needed_op_set(graph), len(data), len(text), start, 0, 0, bytes(16))
    HEADER.pack_into(data, 0, MAGIC, VERSION, *fields)
    struct.pack_into("<I", data, CHECKSUM_AT, binascii.crc32(data))
    decode_model(data)  # what is written can be read
    return bytes(data)


def needed_op_set(graph: Graph) -> int:
    """The smallest op set that has all of a graph's operators."""
    return max((BY_NAME[operator.op].since for operator in operators_of(graph)), default=1)


def operators_of(graph: Graph) -> Iterator[Operator]:
    """All operators, those of parts too."""
    for operator in graph.operators:
        yield operator
        for value in operator.attributes.values():
            if isinstance(value, Graph):
                yield from operators_of(value)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _part(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [_port(port) for port in graph.inputs],
        "outputs": [_port(port) for port in graph.outputs],
        "operators": [
            [
                operator.op,
                list(operator.inputs),
                list(operator.outputs),
                {name: _plain(value) for name, value in sorted(operator.attributes.items())},
            ]
            for operator in graph.operators
        ],
    }


def _port(port: Port) -> list[Any]:
    return [port.name, int(port.dtype or 0), None if port.shape is None else list(port.shape)]


def _plain(value: Attribute) -> object:
    if isinstance(value, Graph):
        return _part(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- reading ---------------------------------------------------------------------------------------------------------


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ModelInvalid(f"the model file is damaged ({what}); fetch or compile it again")


def decode_model(data: bytes | bytearray | memoryview) -> Graph:
    """The graph of a file; its constants are views of `data`.

    Raises:
        ModelInvalid: the bytes are damaged, cut or break a rule of the format.
        ModelUnsupported: another version or op set, or an operator that is not in it.
    """
    _need(HEADER.size <= len(data) <= LIMITS.file_bytes_max, "its length is impossible")
    magic, version, op_set, size, text_bytes, start, checksum, flags, reserved = HEADER.unpack_from(
        data
    )
    _need(magic == MAGIC, "it does not start as a model does")
    if version != VERSION or op_set > OP_SET:
        raise ModelUnsupported(
            f"the model has file version {version} and op set {op_set}; this engine reads {VERSION} and "
            f"up to {OP_SET}: compile the model for it"
        )
    _need(op_set > 0, "it is of no op set")
    _need(size == len(data), "its length is not what its header says")
    _need(flags == 0 and not any(reserved), "reserved bits are set")
    view = memoryview(data)
    zeroed = binascii.crc32(bytes(4), binascii.crc32(view[:CHECKSUM_AT]))
    _need(binascii.crc32(view[CHECKSUM_AT + 4 :], zeroed) == checksum, "its checksum differs")
    return read_graph(view, op_set, text_bytes, start)


def graph_of(data: memoryview) -> Graph:
    """The graph of a file whose header and checksum the core has checked.

    Raises:
        ModelInvalid: the graph breaks a rule.
        ModelUnsupported: an operator that the op set lacks.
    """
    _, _, op_set, _, text_bytes, start, *_ = HEADER.unpack_from(data)
    return read_graph(data, op_set, text_bytes, start)


def read_graph(data: memoryview, op_set: int, text_bytes: int, start: int) -> Graph:
    """The graph of a file whose header says these things; what it says of the graph's place is checked here."""
    _need(HEADER.size + text_bytes <= len(data), "its graph reaches past its end")
    _need(text_bytes <= LIMITS.graph_bytes_max, "its graph is too big")
    fits = HEADER.size + text_bytes <= start <= len(data) and start % ALIGNMENT == 0
    _need(fits, "its weights are not where they belong")
    try:
        described = json.loads(bytes(data[HEADER.size : HEADER.size + text_bytes]))
        graph = _graph(described, _constants(described, data, start))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ModelInvalid("the model file is damaged (its graph cannot be read)") from error
    check_graph(graph, op_set)
    return graph


def _constants(described: dict[str, Any], data: memoryview, start: int) -> dict[str, Constant]:
    constants: dict[str, Constant] = {}
    for name, code, shape, at, size in described["constants"]:
        _need(type(name) is str and name not in constants, "a weight's name is taken")
        dtype, sizes = Dtype(code), _sizes(shape, 0)
        _need(type(at) is int and type(size) is int, "a weight lies nowhere")
        _need(size == math.prod(sizes) * dtype.item_bytes, "a weight's length is not its shape's")
        inside = at >= 0 and at % ALIGNMENT == 0 and start + at + size <= len(data)
        _need(inside, "a weight lies outside the weights")
        contents = data[start + at : start + at + size]
        constants[name] = Constant(dtype=dtype, shape=sizes, data=contents, start=start + at)
    return constants


def _sizes(shape: list[Any], least: int) -> tuple[int, ...]:
    _need(len(shape) <= LIMITS.rank_max, "a tensor has too many axes")
    sizes_hold = all(type(n) is int and least <= n <= LIMITS.tensor_bytes_max for n in shape)
    _need(sizes_hold, "a shape cannot be")
    return tuple(shape)


def _graph(described: dict[str, Any], constants: Mapping[str, Constant]) -> Graph:
    _need(
        set(described) - {"constants"} == {"inputs", "outputs", "operators"}, "it has other parts"
    )
    inputs = tuple(_read_port(*row) for row in described["inputs"])
    outputs = tuple(_read_port(*row) for row in described["outputs"])
    operators = tuple(_operator(*row) for row in described["operators"])
    return Graph(inputs=inputs, outputs=outputs, operators=operators, constants=constants)


def _read_port(name: str, code: int, shape: list[Any] | None) -> Port:
    sizes = None if shape is None else _sizes(shape, OPEN_AXIS)
    return Port(name=name, dtype=Dtype(code) if code else None, shape=sizes)


def _operator(op: str, inputs: list[str], outputs: list[str], values: dict[str, Any]) -> Operator:
    kinds = attribute_kinds(BY_NAME[op]) if op in BY_NAME else {}
    attributes = {
        name: _SPECIAL.get(value, value)
        if isinstance(value, str) and kinds.get(name) == "float"
        else _attribute(value)
        for name, value in values.items()
    }
    return Operator(op=op, inputs=tuple(inputs), outputs=tuple(outputs), attributes=attributes)


def _attribute(value: Any) -> Attribute:  # noqa: ANN401 - as JSON has it
    if isinstance(value, dict):
        return _graph(value, {})
    if isinstance(value, list):
        return tuple(value)
    return value  # type: ignore[no-any-return]  # check_graph compares it with the op set
