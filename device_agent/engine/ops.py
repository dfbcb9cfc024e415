"""The op set on one page: what a compiled model may be made of.

Rules of this module:

- An id never changes its meaning. A new operator, attribute or meaning is a new OP_SET.
- native/ops/table.cpp holds the same rows; a test compares the two.
- Attributes are 64-bit words in this order: integers, or the bits of a double. The last may take any number of words.
"""

from dataclasses import dataclass
from enum import IntEnum

OP_SET = 1
SAME_AXIS = -2  # in reshape's shape: the size that the input has on this axis
OPEN_AXIS = -1  # in reshape's shape: what remains; in an input's shape: the batch


class Dtype(IntEnum):
    """Types of elements, by their code in a file."""

    FLOAT32 = 1
    INT32 = 2
    INT64 = 3
    UINT8 = 4

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return {Dtype.FLOAT32: 4, Dtype.INT32: 4, Dtype.INT64: 8, Dtype.UINT8: 1}[self]


class OpId(IntEnum):
    """Operators, by their id in a file."""

    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    DIVIDE = 4
    MAXIMUM = 5
    MINIMUM = 6
    RELU = 16
    SIGMOID = 17
    TANH = 18
    EXP = 19
    SQRT = 20
    NEGATIVE = 21
    CLIP = 22
    CAST = 23
    MATMUL = 32
    GEMM = 33
    REDUCE_SUM = 48
    REDUCE_MEAN = 49
    REDUCE_MAX = 50
    REDUCE_MIN = 51
    ARGMAX = 52
    SOFTMAX = 53
    RESHAPE = 64
    TRANSPOSE = 65
    CONCAT = 66
    SLICE = 67


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operator.

    Attributes:
        id: Its number in a file.
        inputs_min: Fewest inputs.
        inputs_max: Most inputs; there is always one output.
        attributes: "name:int" or "name:float" for each word; a last "name:int..." takes any number up to the most axes.
    """

    id: OpId
    inputs_min: int
    inputs_max: int
    attributes: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kind of each named attribute: "int", "float", or a last "int..."."""
        return tuple(part.partition(":")[2] for part in self.attributes.split())


_REDUCE = "keepdims:int axes:int..."

OPS = (
    # Element by element, with numpy's broadcasting; both operands of one dtype. Integers wrap and divide toward zero.
    OpRow(OpId.ADD, 2, 2),
    OpRow(OpId.SUBTRACT, 2, 2),
    OpRow(OpId.MULTIPLY, 2, 2),
    OpRow(OpId.DIVIDE, 2, 2),
    OpRow(OpId.MAXIMUM, 2, 2),
    OpRow(OpId.MINIMUM, 2, 2),
    OpRow(OpId.RELU, 1, 1),
    OpRow(OpId.SIGMOID, 1, 1),  # float32 only, as the next three
    OpRow(OpId.TANH, 1, 1),
    OpRow(OpId.EXP, 1, 1),
    OpRow(OpId.SQRT, 1, 1),
    OpRow(OpId.NEGATIVE, 1, 1),
    OpRow(OpId.CLIP, 1, 1, "low:float high:float"),
    OpRow(OpId.CAST, 1, 1, "dtype:int"),  # what does not fit is clipped; not-a-number is 0
    # Products, float32. gemm: alpha * a @ b + beta * c.
    OpRow(OpId.MATMUL, 2, 2),
    OpRow(OpId.GEMM, 2, 3, "alpha:float beta:float transpose_a:int transpose_b:int"),
    # Many to one; no axes named means all.
    OpRow(OpId.REDUCE_SUM, 1, 1, _REDUCE),
    OpRow(OpId.REDUCE_MEAN, 1, 1, _REDUCE),
    OpRow(OpId.REDUCE_MAX, 1, 1, _REDUCE),
    OpRow(OpId.REDUCE_MIN, 1, 1, _REDUCE),
    OpRow(OpId.ARGMAX, 1, 1, "axis:int keepdims:int"),  # int64
    OpRow(OpId.SOFTMAX, 1, 1, "axis:int"),
    # Movement of elements.
    OpRow(OpId.RESHAPE, 1, 1, "shape:int..."),
    OpRow(OpId.TRANSPOSE, 1, 1, "axes:int..."),
    OpRow(OpId.CONCAT, 1, 64, "axis:int"),
    OpRow(OpId.SLICE, 1, 1, "axis:int start:int stop:int step:int"),  # as Python's slice
)

BY_ID = {row.id: row for row in OPS}
