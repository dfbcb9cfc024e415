"""The graph under construction: what a lowering rule reads and writes.

Rules of this module:

- Constants are written only when something uses them, and each once.
- A rule refuses by raising `Refused`; the caller collects every refusal before it reports.
"""

from collections.abc import Sequence

import numpy as np

from cloud.compiler.source import Array, Known, Node, Shape, Source
from device_agent.engine.graph import Attribute, Graph, Kind, Operator, TensorInfo
from device_agent.engine.ops import OPEN_AXIS, Dtype, OpId

NUMPY_DTYPES = {
    np.dtype(np.float32): Dtype.FLOAT32,
    np.dtype(np.int32): Dtype.INT32,
    np.dtype(np.int64): Dtype.INT64,
    np.dtype(np.uint8): Dtype.UINT8,
    np.dtype(np.bool): Dtype.BOOL,
}


class Refused(Exception):
    """This node cannot be lowered; the message says why."""


class Lowering:
    """Tensors and operators so far, by ONNX name."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.constants: dict[str, Array] = dict(source.constants)
        self._places: dict[str, int] = {}
        self._tensors: list[TensorInfo] = []
        self._operators: list[Operator] = []
        self._inputs = tuple(self._add(self._input(name)) for name in source.inputs)

    # --- reading -----------------------------------------------------------------------------------------------------

    def constant(self, name: str, what: str) -> Array:
        """The value of an input that must be known when compiling."""
        if name not in self.constants:
            raise Refused(f"its {what} must be a constant")
        return self.constants[name]

    def known(self, name: str) -> Known:
        """Dtype and shape of a tensor, as far as they are known."""
        if name in self.constants:
            array = self.constants[name]
            return Known(dtype=NUMPY_DTYPES.get(array.dtype), shape=array.shape)
        return self.source.known.get(name, Known(dtype=None, shape=None))

    def shape(self, name: str) -> Shape:
        """The shape of a tensor; its sizes may be unknown, its number of axes not."""
        shape = self.known(name).shape
        if shape is None:
            raise Refused(f"the number of axes of '{name}' is not known")
        return shape

    # --- writing -----------------------------------------------------------------------------------------------------

    def place(self, name: str) -> int:
        """The tensor of an ONNX name; a constant is written now."""
        if name not in self._places:
            self._places[name] = self.write(name, self.constant(name, "input"))
        return self._places[name]

    def write(self, name: str, array: Array) -> int:
        """A new constant."""
        dtype = NUMPY_DTYPES.get(array.dtype)
        if dtype is None:
            raise Refused(f"constant '{name}' is {array.dtype}; the op set has no such type")
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        info = TensorInfo(name=name, kind=Kind.CONSTANT, dtype=dtype, shape=array.shape, data=data)
        return self._add(info)

    def emit(
        self, op: OpId, inputs: Sequence[int], output: str, attributes: Sequence[Attribute] = ()
    ) -> int:
        """A new operator; returns its output."""
        place = self._add(TensorInfo(name=output, kind=Kind.COMPUTED))
        step = Operator(op=op, inputs=tuple(inputs), output=place, attributes=tuple(attributes))
        self._operators.append(step)
        return place

    def finish(self, node: Node, place: int) -> None:
        """Says which tensor a node's first output is."""
        self._places[node.outputs[0]] = place

    def graph(self) -> Graph:
        """All of it."""
        outputs = tuple(self._output(name) for name in self.source.outputs)
        return Graph(
            tensors=tuple(self._tensors),
            operators=tuple(self._operators),
            inputs=self._inputs,
            outputs=outputs,
        )

    def _add(self, info: TensorInfo) -> int:
        self._tensors.append(info)
        if info.kind is Kind.INPUT:
            self._places[info.name] = len(self._tensors) - 1
        return len(self._tensors) - 1

    def _input(self, name: str) -> TensorInfo:
        known = self.source.known[name]
        if known.dtype is None or known.shape is None or None in known.shape[1:]:
            raise Refused(
                f"input '{name}' must be float32, int32, int64, uint8 or bool, all its axes but the first of fixed size"
            )
        shape = tuple(OPEN_AXIS if size is None else size for size in known.shape)
        return TensorInfo(name=name, kind=Kind.INPUT, dtype=known.dtype, shape=shape)

    def _output(self, name: str) -> int:
        """An output's tensor bears its name: one that is only an alias is copied (a cast to its own type)."""
        place = self.place(name)
        dtype = self.known(name).dtype
        if self._tensors[place].name == name or dtype is None:
            return place
        return self.emit(OpId.CAST, [place], name, [dtype])
