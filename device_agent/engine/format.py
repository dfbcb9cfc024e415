"""The compiled model file, `.shoalmodel`, version 1.

Rules of this module:

- Standard library only. native/model/format.h says the same layout and is what devices read with; this module writes,
  and reads as the reference that tests compare with.
- Little-endian, bounded, checksummed; unknown versions, op sets, operators and set reserved bits are refused. Every
  count, offset, id, order and length is checked before it is used. (That shapes agree is checked by `_core`, which
  infers them.)
- The same graph gives the same bytes.

Layout, each part at a multiple of 8, each weight at a multiple of 64 (so that mapped weights are aligned):

    header | tensors | operators | indices u32 | attributes i64 or f64 | names UTF-8 | weights

The indices are the operators' inputs and output, one operator after the other, then the model's inputs, then its
outputs. The checksum is CRC-32 of the whole file with its own field zero: against damage. Who made the file is the
signature's matter, not this one's.
"""

import binascii
import struct
from collections.abc import Iterable

from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.graph import Attribute, Graph, Kind, Operator, TensorInfo
from device_agent.engine.ops import BY_ID, OP_SET, OPEN_AXIS, Dtype, OpId
from device_agent.engine.settings import LIMITS

MAGIC = b"SHOALMDL"
VERSION = 1
ALIGNMENT = 64
HEADER = struct.Struct("<8sIIQIIIIIHHIIQ")
TENSOR = struct.Struct("<IHBBB7xQQ6q")
OPERATOR = struct.Struct("<HBBIII")
CHECKSUM_AT = 52
assert (HEADER.size, TENSOR.size, OPERATOR.size) == (64, 80, 16)


def encode_model(graph: Graph) -> bytes:
    """The file of a graph.

    Raises:
        ModelInvalid: the graph breaks a rule of the format or is over a limit.
    """
    names, name_starts = _names(graph.tensors)
    indices = [i for op in graph.operators for i in (*op.inputs, op.output)]
    indices += [*graph.inputs, *graph.outputs]
    words = b"".join(_word(op, i) for op in graph.operators for i in range(len(op.attributes)))
    sizes = _part_sizes(len(graph.tensors), len(graph.operators), len(indices), len(words) // 8)
    start = _padded(HEADER.size + sum(sizes) + len(names), ALIGNMENT)
    tensors, weights = _tensors(graph.tensors, name_starts, start)
    parts = [tensors, _operators(graph.operators), struct.pack(f"<{len(indices)}I", *indices)]
    tables = b"".join(part.ljust(size, b"\0") for part, size in zip(parts, sizes, strict=False))
    body = tables + words + names
    body = body.ljust(start - HEADER.size, b"\0") + weights
    header = _header(graph, len(indices), len(words) // 8, len(names), HEADER.size + len(body))
    data = bytearray(header + body)
    data[CHECKSUM_AT : CHECKSUM_AT + 4] = struct.pack("<I", binascii.crc32(data))
    decode_model(data)  # what is written can be read
    return bytes(data)


def needed_op_set(graph: Graph) -> int:
    """The smallest op set that has all of a graph's operators and dtypes."""
    operators = (BY_ID[operator.op].since for operator in graph.operators)
    dtypes = (2 for tensor in graph.tensors if tensor.dtype is Dtype.BOOL)
    return max(1, *operators, *dtypes)


def _padded(size: int, to: int) -> int:
    return -(-size // to) * to


def _part_sizes(
    tensors: int, operators: int, indices: int, words: int
) -> tuple[int, int, int, int]:
    return tensors * TENSOR.size, operators * OPERATOR.size, _padded(indices * 4, 8), words * 8


def _names(tensors: Iterable[TensorInfo]) -> tuple[bytes, list[int]]:
    names, starts = b"", []
    for tensor in tensors:
        starts.append(len(names))
        names += tensor.name.encode()
    return names, starts


def _word(operator: Operator, index: int) -> bytes:
    kinds = BY_ID[operator.op].kinds
    kind = kinds[min(index, len(kinds) - 1)] if kinds else "int"
    value = operator.attributes[index]
    try:
        return struct.pack("<d", value) if kind == "float" else struct.pack("<q", value)
    except struct.error as error:
        raise ModelInvalid(f"{operator.op.name}'s attribute {value!r} is not a {kind}") from error


def _tensors(tensors: Iterable[TensorInfo], starts: list[int], at: int) -> tuple[bytes, bytes]:
    records, weights = [], bytearray()
    for tensor, name_start in zip(tensors, starts, strict=True):
        constant = tensor.kind is Kind.CONSTANT
        if constant:
            weights.extend(bytes(_padded(len(weights), ALIGNMENT) - len(weights)))
        if len(tensor.shape) > LIMITS.rank_max:
            raise ModelInvalid(f"'{tensor.name}' has more than {LIMITS.rank_max} axes")
        record = TENSOR.pack(
            name_start,
            len(tensor.name.encode()),
            tensor.kind,
            tensor.dtype or 0,
            len(tensor.shape),
            at + len(weights) if constant else 0,
            len(tensor.data),
            *tensor.shape,
            *(0,) * (LIMITS.rank_max - len(tensor.shape)),
        )
        records.append(record)
        weights.extend(tensor.data)
    return b"".join(records), bytes(weights)


def _operators(operators: Iterable[Operator]) -> bytes:
    records = []
    index = attribute = 0
    for operator in operators:
        counts = len(operator.inputs), len(operator.attributes)
        records.append(OPERATOR.pack(operator.op, *counts, index, attribute, 0))
        index += len(operator.inputs) + 1
        attribute += len(operator.attributes)
    return b"".join(records)


def _header(graph: Graph, indices: int, words: int, names: int, size: int) -> bytes:
    return HEADER.pack(
        MAGIC,
        VERSION,
        needed_op_set(graph),
        size,
        len(graph.tensors),
        len(graph.operators),
        indices,
        words,
        names,
        len(graph.inputs),
        len(graph.outputs),
        0,
        0,
        0,
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ModelInvalid(f"the model file is damaged ({what}); fetch or compile it again")


def decode_model(data: bytes | bytearray) -> Graph:
    """The graph of a file.

    Raises:
        ModelInvalid: the bytes are damaged, cut or break a rule of the format.
        ModelUnsupported: another version or op set, or an operator that is not in it.
    """
    return _Reader(data).graph()


class _Reader:
    """One file: each part is checked before the next is read."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._header()
        tensors, operators, indices, _ = _part_sizes(
            self.tensor_count, self.operator_count, self.index_count, self.word_count
        )
        self.operators_at = HEADER.size + tensors
        self.indices_at = self.operators_at + operators
        self.words_at = self.indices_at + indices
        self.names_at = self.words_at + 8 * self.word_count
        names_end = self.names_at + self.names_bytes
        self.weights_at = _padded(names_end, ALIGNMENT)
        _need(names_end <= len(data), "its tables reach past its end")
        self.ports_at = self.index_count - self.input_count - self.output_count
        _need(self.ports_at >= 0 and self.output_count > 0, "its inputs and outputs are missing")

    def _header(self) -> None:
        data = self._data
        _need(HEADER.size <= len(data) <= LIMITS.file_bytes_max, "its length is impossible")
        magic, version, op_set, size, *counts, flags, checksum, reserved = HEADER.unpack_from(data)
        _need(magic == MAGIC, "it does not start as a model does")
        if version != VERSION or op_set > OP_SET:
            raise ModelUnsupported(
                f"the model has file version {version} and op set {op_set}; this engine reads {VERSION} and "
                f"up to {OP_SET}: compile the model for it"
            )
        _need(op_set > 0, "it is of no op set")
        self.op_set = op_set
        _need(size == len(data), "its length is not what its header says")
        _need(flags == 0 and reserved == 0, "reserved bits are set")
        zeroed = binascii.crc32(bytes(4), binascii.crc32(data[:CHECKSUM_AT]))
        _need(binascii.crc32(data[CHECKSUM_AT + 4 :], zeroed) == checksum, "its checksum differs")
        self.tensor_count, self.operator_count, self.index_count, self.word_count = counts[:4]
        self.names_bytes, self.input_count, self.output_count = counts[4:]
        limits = (
            LIMITS.tensors_max,
            LIMITS.operators_max,
            LIMITS.indices_max,
            LIMITS.attributes_max,
            LIMITS.names_bytes_max,
        )
        _need(all(n <= most for n, most in zip(counts, limits, strict=False)), "a count is too big")

    def _index(self, place: int) -> int:
        (value,) = struct.unpack_from("<I", self._data, self.indices_at + 4 * place)
        _need(value < self.tensor_count, "an index names no tensor")
        return int(value)

    def graph(self) -> Graph:
        tensors = tuple(self._tensor(i) for i in range(self.tensor_count))
        ports = [self._index(i) for i in range(self.ports_at, self.index_count)]
        inputs, outputs = ports[: self.input_count], ports[self.input_count :]
        listed = [i for i, tensor in enumerate(tensors) if tensor.kind is Kind.INPUT]
        _need(sorted(inputs) == listed, "an input is listed wrongly")
        defined = {i for i, tensor in enumerate(tensors) if tensor.kind is not Kind.COMPUTED}
        operators = tuple(self._operator(i, defined) for i in range(self.operator_count))
        _need(defined.issuperset(outputs), "an output is never made")
        return Graph(
            tensors=tensors, operators=operators, inputs=tuple(inputs), outputs=tuple(outputs)
        )

    def _tensor(self, i: int) -> TensorInfo:
        at = HEADER.size + i * TENSOR.size
        name_start, name_bytes, kind, dtype, rank, start, size, *dims = TENSOR.unpack_from(
            self._data, at
        )
        _need(not any(self._data[at + 9 : at + 16]), "reserved bytes are set")
        _need(name_start + name_bytes <= self.names_bytes, "a name is outside the names")
        _need(kind <= Kind.CONSTANT, "a tensor is of no known kind")
        try:
            name = bytes(self._data[self.names_at + name_start :][:name_bytes]).decode()
        except UnicodeDecodeError as error:
            raise ModelInvalid("the model file is damaged (a name is not UTF-8)") from error
        if kind == Kind.COMPUTED:
            _need(not (dtype or rank or start or size), "a computed tensor has contents")
            return TensorInfo(name=name, kind=Kind.COMPUTED)
        _need(dtype in set(Dtype) and rank <= LIMITS.rank_max, "a tensor has no known type")
        shape = tuple(dims[:rank])
        least = OPEN_AXIS if kind == Kind.INPUT else 0
        sizes_hold = all(n >= (least if axis == 0 else 0) for axis, n in enumerate(shape))
        _need(sizes_hold and not any(dims[rank:]), "a shape cannot be")
        contents = self._weight(Kind(kind), Dtype(dtype), shape, start, size)
        return TensorInfo(
            name=name, kind=Kind(kind), dtype=Dtype(dtype), shape=shape, data=contents
        )

    def _weight(
        self, kind: Kind, dtype: Dtype, shape: tuple[int, ...], start: int, size: int
    ) -> bytes:
        if kind is Kind.INPUT:
            _need(start == 0 and size == 0, "an input has contents")
            return b""
        count = 1
        for axis in shape:
            count *= axis
        _need(size == count * dtype.item_bytes, "a weight's length is not its shape's")
        aligned = start % ALIGNMENT == 0 and start >= self.weights_at
        _need(aligned and start + size <= len(self._data), "a weight lies outside the weights")
        return bytes(self._data[start : start + size])

    def _operator(self, i: int, defined: set[int]) -> Operator:
        op, inputs, attributes, index_at, word_at, zero = OPERATOR.unpack_from(
            self._data, self.operators_at + i * OPERATOR.size
        )
        if op not in set(OpId) or BY_ID[OpId(op)].since > self.op_set:
            raise ModelUnsupported(
                f"the model needs operator {op}, which op set {self.op_set} lacks"
            )
        _need(zero == 0, "reserved bytes are set")
        _need(index_at + inputs + 1 <= self.ports_at, "an operator's tensors are missing")
        _need(word_at + attributes <= self.word_count, "an operator's attributes are missing")
        row = BY_ID[OpId(op)]
        _need(row.inputs_min <= inputs <= row.inputs_max, f"{row.id.name} has {inputs} inputs")
        sources = tuple(self._index(index_at + n) for n in range(inputs))
        output = self._index(index_at + inputs)
        _need(defined.issuperset(sources), "an operator uses what was not made yet")
        _need(output not in defined, "a tensor is made twice")
        defined.add(output)
        words = self._attributes(row.kinds, word_at, attributes)
        return Operator(op=row.id, inputs=sources, output=output, attributes=words)

    def _attributes(self, kinds: tuple[str, ...], at: int, count: int) -> tuple[Attribute, ...]:
        opened = bool(kinds) and kinds[-1].endswith("...")
        fits = len(kinds) - 1 <= count <= len(kinds) - 1 + LIMITS.rank_max
        _need(fits if opened else count == len(kinds), "an operator has other attributes")
        codes = "".join(
            "d" if kinds[min(i, len(kinds) - 1)] == "float" else "q" for i in range(count)
        )
        return struct.unpack_from(f"<{codes}", self._data, self.words_at + 8 * at)
