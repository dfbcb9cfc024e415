"""The graph under construction: what a rule reads and writes.

Rules of this module:

- Constants are written only when something uses them, and each once.
- A rule refuses by raising `Refused`; the caller collects every refusal before it reports.
- A part (a branch, a loop's body) is lowered by a `Scope` of its own, which shares constants and names with the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cloud.compiler.source import Array, Known, Shape, Source
from device_agent.engine.graph import Attribute, Constant, Graph, Operator, Port
from device_agent.engine.ops import DTYPE_NAMES, OPEN_AXIS, Dtype

DTYPE_CODES = {name: Dtype(code) for code, name in enumerate(DTYPE_NAMES) if name}


class Refused(Exception):
    """This node cannot be lowered; the message says why."""


def dtype_of(array: Array) -> Dtype | None:
    """The dtype of a constant, None when the op set has no such type."""
    return DTYPE_CODES.get(array.dtype.name)


class Shared:
    """What all scopes of a model share."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.constants: dict[str, Array] = dict(source.constants)
        self.written: dict[str, Constant] = {}
        self.names = {*source.known, *source.constants}


class Scope:
    """Operators so far of the model or a part of it."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.operators: list[Operator] = []

    # --- reading -----------------------------------------------------------------------------------------------------

    def constant(self, name: str, what: str) -> Array:
        """The value of an input that must be known when compiling."""
        if name not in self.shared.constants:
            raise Refused(f"its {what} must be a constant")
        return self.shared.constants[name]

    def known(self, name: str) -> Known:
        """Dtype and shape of a tensor, as far as they are known."""
        if name in self.shared.constants:
            array = self.shared.constants[name]
            return Known(dtype=dtype_of(array), shape=array.shape)
        return self.shared.source.known.get(name, Known(dtype=None, shape=None))

    def shape(self, name: str) -> Shape:
        """The shape of a tensor; its sizes may be unknown, its number of axes not."""
        shape = self.known(name).shape
        if shape is None:
            raise Refused(f"the number of axes of '{name}' is not known")
        return shape

    # --- writing -----------------------------------------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        """A name that nothing has."""
        made, number = name, 2
        while made in self.shared.names:
            made, number = f"{name}/{number}", number + 1
        self.shared.names.add(made)
        return made

    def write(self, name: str, numbers: object, dtype: type[np.generic] = np.int64) -> str:
        """A new constant; returns its name."""
        made = self.fresh(name)
        self.shared.constants[made] = np.asarray(numbers, dtype=dtype)
        return made

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> None:
        """A new operator."""
        names = list(inputs)
        while names and not names[-1]:
            names.pop()
        for name in names:
            self.use(name)
        step = Operator(
            op=op, inputs=tuple(names), outputs=tuple(outputs), attributes=dict(attributes or {})
        )
        self.operators.append(step)

    def use(self, name: str) -> None:
        """Writes a constant into the file, when the name is one."""
        array = self.shared.constants.get(name)
        if array is None or name in self.shared.written:
            return
        dtype = dtype_of(array)
        if dtype is None:
            raise Refused(f"constant '{name}' is {array.dtype}; the op set has no such type")
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        self.shared.written[name] = Constant(dtype=dtype, shape=array.shape, data=data)

    def graph(self) -> Graph:
        """The whole model."""
        source = self.shared.source
        inputs = tuple(self._input(name) for name in source.inputs)
        for name in source.outputs:
            self.use(name)
        outputs = tuple(self._output(name) for name in source.outputs)
        return Graph(
            inputs=inputs,
            outputs=outputs,
            operators=tuple(self.operators),
            constants=dict(self.shared.written),
        )

    def _input(self, name: str) -> Port:
        known = self.shared.source.known[name]
        if known.dtype is None or known.shape is None:
            raise Refused(f"input '{name}' has a type that the op set lacks, or no number of axes")
        return Port(name=name, dtype=known.dtype, shape=_sizes(known.shape))

    def _output(self, name: str) -> Port:
        known = self.known(name)
        shape = None if known.shape is None else _sizes(known.shape)
        return Port(name=name, dtype=known.dtype, shape=shape)


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(OPEN_AXIS if size is None else size for size in shape)
