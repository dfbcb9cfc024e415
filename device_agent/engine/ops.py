"""The op set on one page: what a compiled model may be made of.

Rules of this module:

- An id never changes its meaning. A new operator, attribute or meaning is a new OP_SET.
- native/ops/table.cpp holds the same rows; a test compares the two.
- Attributes are 64-bit words in this order: integers, or the bits of a double. The last may take any number of words.
"""

from dataclasses import dataclass
from enum import IntEnum

OP_SET = 2
SAME_AXIS = -2  # in reshape's shape: the size that the input has on this axis
OPEN_AXIS = -1  # in reshape's shape: what remains; in an input's shape: the batch


class Dtype(IntEnum):
    """Types of elements, by their code in a file."""

    FLOAT32 = 1
    INT32 = 2
    INT64 = 3
    UINT8 = 4
    BOOL = 5  # a byte: 0 is false, all else is true; since op set 2

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return {1: 4, 2: 4, 3: 8, 4: 1, 5: 1}[self.value]


class OpId(IntEnum):
    """Operators, by their id in a file."""

    ADD = 1
    SUBTRACT = 2
    MULTIPLY = 3
    DIVIDE = 4
    MAXIMUM = 5
    MINIMUM = 6
    EQUAL = 8
    LESS = 9
    LESS_EQUAL = 10
    LOGICAL_AND = 11
    LOGICAL_OR = 12
    LOGICAL_XOR = 13
    POWER = 14
    LOG1P = 15
    RELU = 16
    SIGMOID = 17
    TANH = 18
    EXP = 19
    SQRT = 20
    NEGATIVE = 21
    CLIP = 22
    CAST = 23
    ABSOLUTE = 24
    LOGARITHM = 25
    FLOOR = 26
    CEIL = 27
    ROUND = 28
    SINE = 29
    COSINE = 30
    LOGICAL_NOT = 31
    MATMUL = 32
    GEMM = 33
    REDUCE_SUM = 48
    REDUCE_MEAN = 49
    REDUCE_MAX = 50
    REDUCE_MIN = 51
    ARGMAX = 52
    SOFTMAX = 53
    ARGMIN = 54
    REDUCE_PRODUCT = 55
    CUMULATIVE_SUM = 56
    ARGSORT = 57
    RESHAPE = 64
    TRANSPOSE = 65
    CONCAT = 66
    SLICE = 67
    BROADCAST = 68
    TAKE = 69
    TAKE_ALONG = 70
    WHERE = 80
    FFT = 96
    RESIZE = 97


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operator.

    Attributes:
        id: Its number in a file.
        inputs_min: Fewest inputs.
        inputs_max: Most inputs; there is always one output.
        since: The op set that brought it; a file names the smallest that it needs.
        attributes: "name:int" or "name:float" for each word; a last "name:int..." takes any number up to the most axes.
    """

    id: OpId
    inputs_min: int
    inputs_max: int
    attributes: str = ""
    since: int = 1

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
    OpRow(OpId.POWER, 2, 2, since=2),  # float32
    # Comparisons make bool; the logical operators take it.
    OpRow(OpId.EQUAL, 2, 2, since=2),
    OpRow(OpId.LESS, 2, 2, since=2),
    OpRow(OpId.LESS_EQUAL, 2, 2, since=2),
    OpRow(OpId.LOGICAL_AND, 2, 2, since=2),
    OpRow(OpId.LOGICAL_OR, 2, 2, since=2),
    OpRow(OpId.LOGICAL_XOR, 2, 2, since=2),
    OpRow(OpId.LOGICAL_NOT, 1, 1, since=2),
    OpRow(OpId.WHERE, 3, 3, since=2),  # condition, then, else
    OpRow(OpId.RELU, 1, 1),
    OpRow(OpId.SIGMOID, 1, 1),  # float32 only, as the next three
    OpRow(OpId.TANH, 1, 1),
    OpRow(OpId.EXP, 1, 1),
    OpRow(OpId.SQRT, 1, 1),
    OpRow(OpId.NEGATIVE, 1, 1),
    OpRow(OpId.CLIP, 1, 1, "low:float high:float"),
    OpRow(OpId.CAST, 1, 1, "dtype:int"),  # what does not fit is clipped; not-a-number is 0
    OpRow(OpId.ABSOLUTE, 1, 1, since=2),  # float32, int32, int64
    OpRow(OpId.LOGARITHM, 1, 1, since=2),  # float32 only, as the next six
    OpRow(OpId.LOG1P, 1, 1, since=2),
    OpRow(OpId.FLOOR, 1, 1, since=2),
    OpRow(OpId.CEIL, 1, 1, since=2),
    OpRow(OpId.ROUND, 1, 1, since=2),  # halves to the even number
    OpRow(OpId.SINE, 1, 1, since=2),
    OpRow(OpId.COSINE, 1, 1, since=2),
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
    OpRow(OpId.ARGMIN, 1, 1, "axis:int keepdims:int", since=2),  # int64
    OpRow(OpId.REDUCE_PRODUCT, 1, 1, _REDUCE, since=2),
    # Along one axis, where order counts. argsort: int64, stable; what is not a number comes last.
    OpRow(OpId.CUMULATIVE_SUM, 1, 1, "axis:int", since=2),
    OpRow(OpId.ARGSORT, 1, 1, "axis:int descending:int", since=2),
    # Movement of elements. take and take_along pick by int64 indices; negative ones count from the end.
    OpRow(OpId.RESHAPE, 1, 1, "shape:int..."),
    OpRow(OpId.TRANSPOSE, 1, 1, "axes:int..."),
    OpRow(OpId.CONCAT, 1, 64, "axis:int"),
    OpRow(OpId.SLICE, 1, 1, "axis:int start:int stop:int step:int"),  # as Python's slice
    OpRow(OpId.BROADCAST, 1, 1, "shape:int...", since=2),
    OpRow(OpId.TAKE, 2, 2, "axis:int", since=2),
    OpRow(OpId.TAKE_ALONG, 2, 2, "axis:int", since=2),
    # Signals and pictures. fft: complex numbers as (..., n, 2). resize: (height, width, channels), kind 0 nearest,
    # 1 smooth (antialiased), 2 linear.
    OpRow(OpId.FFT, 1, 1, "inverse:int", since=2),
    OpRow(OpId.RESIZE, 1, 1, "height:int width:int kind:int", since=2),
)

BY_ID = {row.id: row for row in OPS}
