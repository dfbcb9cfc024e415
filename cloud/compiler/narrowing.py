"""Weights in fewer bits: halves that are widened where they are used, and products by 8-bit weights.

Rules of this module:

- It rewrites a whole graph into another with the same inputs and outputs; only float32 constants change.
- 8 bits: a product by a constant matrix rounds its rows as they come, a convolution of one group and enough channels
  its pictures (dynamic quantisation); each column or filter of weights has a scale of its own. Weights of others are
  halved.
- A constant that a narrower type cannot hold, or that is small, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cloud.compiler.settings import LIMITS
from device_agent.engine.graph import Attribute, Constant, Graph, Operator
from device_agent.engine.ops import Dtype

type Floats = NDArray[np.float32]

INT8_LARGEST = 127
FEWEST_CHANNELS = (
    16  # of a convolution: rounding a picture of fewer costs more than its products save
)
SUMMED_MAX = 65_536  # products that 32 bits can sum, as native/kernels/tile_int8.h says


class Weights(StrEnum):
    """How weights are stored."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


def narrowed(graph: Graph, weights: Weights) -> Graph:
    """The graph with its weights in fewer bits; as it is for float32."""
    if weights is Weights.FLOAT32:
        return graph
    work = _Narrowing(graph.constants, weights)
    operators = work.operators(graph.operators)
    whole = replace(graph, operators=operators, constants={**graph.constants, **work.made})
    used = _names(whole)
    kept = {name: constant for name, constant in whole.constants.items() if name in used}
    return replace(whole, constants=kept)


class _Narrowing:
    """Goes through operators once.

    Attributes:
        made: The constants that operators were given.
    """

    def __init__(self, constants: Mapping[str, Constant], weights: Weights) -> None:
        self.made: dict[str, Constant] = {}
        self._constants = constants
        self._eight = weights is Weights.INT8
        self._half = Dtype.BFLOAT16 if weights is Weights.BFLOAT16 else Dtype.FLOAT16
        self._count = 0

    def operators(self, given: tuple[Operator, ...]) -> tuple[Operator, ...]:
        """The same work with narrow constants, in order."""
        return tuple(new for operator in given for new in self._narrow(self._parts(operator)))

    def _parts(self, operator: Operator) -> Operator:
        attributes: dict[str, Attribute] = {
            name: replace(value, operators=self.operators(value.operators))
            if isinstance(value, Graph)
            else value
            for name, value in operator.attributes.items()
        }
        return replace(operator, attributes=attributes)

    def _narrow(self, operator: Operator) -> list[Operator]:
        if self._eight:
            made = self._product(operator) or self._convolution(operator)
            if made is not None:
                return made
        if operator.op == "gather" and self._stored(operator.inputs[0]) is not None:
            return self._lookup(operator)
        casts = []
        inputs = list(operator.inputs)
        for place, name in enumerate(inputs):
            half = self._stored(name)
            if half is not None:
                inputs[place] = self._fresh(name)
                casts.append(_cast(half, inputs[place]))
        return [*casts, replace(operator, inputs=tuple(inputs))]

    def _lookup(self, operator: Operator) -> list[Operator]:
        """Rows of a table: only those that are taken are widened."""
        half = self._stored(operator.inputs[0])
        assert half is not None
        (out,) = operator.outputs
        between = self._fresh(out)
        taken = replace(operator, inputs=(half, *operator.inputs[1:]), outputs=(between,))
        return [taken, _cast(between, out)]

    def _product(self, operator: Operator) -> list[Operator] | None:
        """A product by a constant matrix, and what a gemm adds."""
        if operator.op not in ("mat_mul", "gemm"):
            return None
        matrix = self._floats(operator.inputs[1])
        turned = bool(operator.attributes.get("transB", 0))
        plain = not operator.attributes.get("transA", 0)
        plain = plain and all(operator.attributes.get(name, 1) == 1 for name in ("alpha", "beta"))
        if matrix is None or matrix.ndim != 2 or not plain:
            return None
        if matrix.shape[1 if turned else 0] > SUMMED_MAX:
            return None
        columns, kind = (matrix.T, "turned") if turned else (matrix, "columns")
        weights, scales = self._eighths(operator.inputs[1], columns, columns.shape, kind)
        (out,) = operator.outputs
        base = operator.inputs[2] if len(operator.inputs) == 3 else ""
        made = self._fresh(out) if base else out
        product = Operator(
            op="quantized_mat_mul", inputs=(operator.inputs[0], weights, scales), outputs=(made,)
        )
        added = [Operator(op="add", inputs=(made, base), outputs=(out,))] if base else []
        return [product, *added]

    def _convolution(self, operator: Operator) -> list[Operator] | None:
        """A convolution of pictures in one group, and its bias."""
        if operator.op != "conv":
            return None
        weights, attributes = self._floats(operator.inputs[1]), operator.attributes
        one_group = attributes.get("group", 1) == 1
        dilations = attributes.get("dilations") or (1, 1)
        base = operator.inputs[2] if len(operator.inputs) == 3 else ""
        bias = self._constants.get(base)
        if weights is None or weights.ndim != 4 or not one_group or (base and bias is None):
            return None
        if weights.shape[1] < FEWEST_CHANNELS:
            return None
        summed = -(-weights.shape[1] // 4) * 4 * weights.shape[2] * weights.shape[3]
        if summed > SUMMED_MAX or not isinstance(dilations, tuple) or dilations[1] != 1:
            return None
        columns = weights.reshape(weights.shape[0], -1).T
        stored, scales = self._eighths(operator.inputs[1], columns, weights.shape, "filters")
        (out,) = operator.outputs
        made = self._fresh(out) if bias is not None else out
        convolved = replace(
            operator,
            op="quantized_conv",
            inputs=(operator.inputs[0], stored, scales),
            outputs=(made,),
        )
        if bias is None:
            return [convolved]
        column = f"{base}.channels"
        self.made[column] = replace(bias, shape=(weights.shape[0], 1, 1), start=0)
        return [convolved, Operator(op="add", inputs=(made, column), outputs=(out,))]

    def _eighths(
        self, name: str, columns: Floats, shape: tuple[int, ...], kind: str
    ) -> tuple[str, str]:
        """Names of weights in 8 bits, of that shape, and of a scale a column; columns may be filters, spread out."""
        stored, scale = f"{name}.int8.{kind}", f"{name}.scales.{kind}"
        if stored not in self.made:
            scales = np.max(np.abs(columns), axis=0, initial=0) / INT8_LARGEST
            scales = np.where(scales > 0, scales, 1).astype(np.float32)
            whole = np.clip(np.rint(columns / scales), -INT8_LARGEST, INT8_LARGEST).astype(np.int8)
            whole = whole.T if kind == "filters" else whole
            self.made[stored] = _constant(Dtype.INT8, whole.reshape(shape))
            self.made[scale] = _constant(Dtype.FLOAT32, scales)
        return stored, scale

    def _stored(self, name: str) -> str | None:
        """The name of a constant's halves; None where it stays as it is."""
        stored = f"{name}.{self._half.name.lower()}"
        if stored in self.made:
            return stored
        floats = self._floats(name)
        if floats is None:
            return None
        halves = _HALVED[self._half](floats)
        if halves is None:
            return None
        self.made[stored] = _constant(self._half, halves)
        return stored

    def _floats(self, name: str) -> Floats | None:
        """A large constant of float32 whose numbers are finite."""
        constant = self._constants.get(name)
        if constant is None or constant.dtype != Dtype.FLOAT32:
            return None
        floats = np.frombuffer(constant.data, np.float32).reshape(constant.shape)
        small = floats.size < LIMITS.narrowed_elements_min
        return None if small or not np.isfinite(floats).all() else floats

    def _fresh(self, name: str) -> str:
        self._count += 1
        return f"{name}.wide{self._count}"


def _cast(source: str, destination: str) -> Operator:
    return Operator(
        op="cast", inputs=(source,), outputs=(destination,), attributes={"to": int(Dtype.FLOAT32)}
    )


def _constant(dtype: Dtype, array: NDArray[np.generic]) -> Constant:
    return Constant(dtype=dtype, shape=array.shape, data=np.ascontiguousarray(array).tobytes())


def _float16(floats: Floats) -> NDArray[np.generic] | None:
    """Halves, unless one is too large for them."""
    fits = np.abs(floats).max() <= np.finfo(np.float16).max
    return floats.astype(np.float16) if fits else None


def _bfloat16(floats: Floats) -> NDArray[np.generic] | None:
    """The upper halves of the numbers, rounded to the even one."""
    bits = floats.view(np.uint32)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    finite = (upper & 0x7F80) != 0x7F80
    return upper.astype(np.uint16) if finite.all() else None


_HALVED: dict[Dtype, Callable[[Floats], NDArray[np.generic] | None]] = {
    Dtype.FLOAT16: _float16,
    Dtype.BFLOAT16: _bfloat16,
}


def _names(graph: Graph) -> set[str]:
    """Every name that an operator or an output of a graph uses, its parts' too."""
    names = {port.name for port in graph.outputs}
    for operator in graph.operators:
        names.update(operator.inputs)
        for value in operator.attributes.values():
            if isinstance(value, Graph):
                names |= _names(value)
    return names
