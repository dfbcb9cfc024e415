"""The op set on one page: what a compiled model may be made of, and what the core executes.

Rules of this module:

- A name never changes its meaning. A new operator, attribute or meaning is a new OP_SET.
- OPS is what a file holds. Each operator is of one class: *atomic* computes and the core runs it as it is; *transform*
  only moves elements and becomes raster regions; *composite* is lowered to the other two; *control* runs parts of the
  graph. Meanings are those of ONNX's newest version of the operator of the same name (Add is `add`), all attributes
  present or None; the compiler brings older versions to this form.
- ATOMS is what the core executes, by number; native/ops/table.cpp holds the same rows, and a test compares the two.
  With raster, which is not in the table because it takes regions, they are all that a backend has to be good at.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum

OP_SET = 4
OPEN_AXIS = -1  # in an input's shape: any size


class Dtype(IntEnum):
    """Types of elements, by their code in a plan."""

    FLOAT32 = 1
    INT32 = 2
    INT64 = 3
    UINT8 = 4
    BOOL = 5  # a byte: 0 is false, all else is true
    FLOAT64 = 6
    FLOAT16 = 7  # a type of storage, as the next: computed in float32
    BFLOAT16 = 8
    INT8 = 9
    INT16 = 10
    UINT16 = 11
    UINT32 = 12
    UINT64 = 13

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return ITEM_BYTES[self.value]


ITEM_BYTES = (0, 4, 4, 8, 1, 1, 8, 2, 2, 1, 2, 2, 4, 8)
DTYPE_NAMES = tuple("" if i == 0 else Dtype(i).name.lower() for i in range(len(ITEM_BYTES)))


class OpClass(Enum):
    """The four classes of operators."""

    ATOMIC = "atomic"
    TRANSFORM = "transform"
    COMPOSITE = "composite"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class OpRow:
    """One operator of a file.

    Attributes:
        name: ONNX's, in snake case.
        kind: Its class.
        inputs_min: Fewest inputs; an optional one may be left out in the middle too.
        inputs_max: Most inputs.
        outputs_max: Most outputs.
        attributes: "name:kind" or "name:kind=default"; kinds are int, float, text, ints, floats, texts, graph.
        since: The op set that brought it.
    """

    name: str
    kind: OpClass
    inputs_min: int
    inputs_max: int
    outputs_max: int = 1
    attributes: str = ""
    since: int = 3


@dataclass(frozen=True, slots=True)
class AtomRow:
    """One operator of the core.

    Attributes:
        id: Its number in a plan.
        name: Its name.
        inputs_min: Fewest inputs.
        inputs_max: Most inputs.
        outputs: How many outputs.
        attributes: "name:int" or "name:float" for each word; a last "name:int..." takes any number.
        since: The op set that brought it.
    """

    id: int
    name: str
    inputs_min: int
    inputs_max: int
    outputs: int = 1
    attributes: str = ""
    since: int = 1


_A, _T, _C, _F = OpClass.ATOMIC, OpClass.TRANSFORM, OpClass.COMPOSITE, OpClass.CONTROL
_MANY = 4096


def _same(kind: OpClass, names: str, least: int, most: int) -> tuple[OpRow, ...]:
    return tuple(OpRow(name, kind, least, most) for name in names.split())


_WINDOW = "auto_pad:text=NOTSET strides:ints pads:ints dilations:ints kernel_shape:ints"
_REDUCE = "keepdims:int=1 noop_with_empty_axes:int=0"
_RECURRENT = (
    "activations:texts activation_alpha:floats activation_beta:floats clip:float=0 direction:text=forward "
    "hidden_size:int layout:int=0"
)

OPS = (
    # Element by element, with numpy's broadcasting.
    *_same(_A, "abs neg ceil floor round sqrt exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh", 1, 1),
    *_same(_A, "atanh erf sign sigmoid relu not bitwise_not is_nan", 1, 1),
    *_same(_A, "add sub mul div pow and or xor bitwise_and bitwise_or bitwise_xor", 2, 2),
    *_same(_A, "equal greater less greater_or_equal less_or_equal", 2, 2),
    *_same(_A, "max min sum mean", 1, _MANY),
    OpRow("mod", _A, 2, 2, 1, "fmod:int=0"),
    OpRow("bit_shift", _A, 2, 2, 1, "direction:text"),
    OpRow("where", _A, 3, 3),
    OpRow("cast", _A, 1, 1, 1, "to:int"),
    OpRow("cast_like", _A, 2, 2),
    OpRow("clip", _A, 1, 3),
    OpRow("is_inf", _A, 1, 1, 1, "detect_negative:int=1 detect_positive:int=1"),
    *_same(_C, "reciprocal softplus softsign mish hard_swish", 1, 1),
    OpRow("elu", _C, 1, 1, 1, "alpha:float=1"),
    OpRow("celu", _C, 1, 1, 1, "alpha:float=1"),
    OpRow("selu", _C, 1, 1, 1, "alpha:float=1.6732632423543772 gamma:float=1.0507009873554805"),
    OpRow("leaky_relu", _C, 1, 1, 1, "alpha:float=0.01"),
    OpRow("thresholded_relu", _C, 1, 1, 1, "alpha:float=1"),
    OpRow("hard_sigmoid", _C, 1, 1, 1, "alpha:float=0.2 beta:float=0.5"),
    OpRow("shrink", _C, 1, 1, 1, "bias:float=0 lambd:float=0.5"),
    OpRow("gelu", _C, 1, 1, 1, "approximate:text=none"),
    OpRow("swish", _C, 1, 1, 1, "alpha:float=1"),
    OpRow("p_relu", _C, 2, 2),
    OpRow("dropout", _C, 1, 3, 2),
    # Many to one, and along an axis.
    *(OpRow(f"reduce_{name}", _A, 1, 2, 1, _REDUCE) for name in ("sum", "mean", "max", "min", "prod")),
    *(OpRow(f"reduce_{name}", _C, 1, 2, 1, _REDUCE)
      for name in ("l1", "l2", "log_sum", "log_sum_exp", "sum_square")),
    OpRow("arg_max", _A, 1, 1, 1, "axis:int=0 keepdims:int=1 select_last_index:int=0"),
    OpRow("arg_min", _A, 1, 1, 1, "axis:int=0 keepdims:int=1 select_last_index:int=0"),
    OpRow("softmax", _A, 1, 1, 1, "axis:int=-1"),
    OpRow("log_softmax", _C, 1, 1, 1, "axis:int=-1"),
    OpRow("hardmax", _C, 1, 1, 1, "axis:int=-1"),
    OpRow("cum_sum", _A, 2, 2, 1, "exclusive:int=0 reverse:int=0"),
    OpRow("cum_prod", _A, 2, 2, 1, "exclusive:int=0 reverse:int=0"),
    OpRow("top_k", _A, 2, 2, 2, "axis:int=-1 largest:int=1 sorted:int=1"),
    OpRow("det", _A, 1, 1),
    # Products.
    OpRow("mat_mul", _A, 2, 2),
    OpRow("gemm", _A, 2, 3, 1, "alpha:float=1 beta:float=1 transA:int=0 transB:int=0"),
    OpRow("einsum", _C, 1, _MANY, 1, "equation:text"),
    OpRow("mat_mul_integer", _C, 2, 4),
    # x (..., k), w (k, n) of int8, a scale a column: each row of x is rounded to 8 bits by its largest number.
    OpRow("quantized_mat_mul", _A, 3, 3, since=4),
    OpRow("q_linear_mat_mul", _C, 8, 8),
    # Windows.
    OpRow("conv", _C, 2, 3, 1, f"{_WINDOW} group:int=1"),
    OpRow("conv_transpose", _C, 2, 3, 1, f"{_WINDOW} group:int=1 output_padding:ints output_shape:ints"),
    # Pictures, w (M,C,h,w) of int8, a scale a filter: each picture is rounded to 8 bits by its largest number.
    OpRow("quantized_conv", _A, 3, 3, 1, f"{_WINDOW} group:int=1", 4),
    OpRow("conv_integer", _C, 2, 4, 1, f"{_WINDOW} group:int=1"),
    OpRow("q_linear_conv", _C, 8, 9, 1, f"{_WINDOW} group:int=1"),
    OpRow("deform_conv", _C, 3, 5, 1, f"{_WINDOW} group:int=1 offset_group:int=1"),
    OpRow("max_pool", _C, 1, 1, 2, f"{_WINDOW} ceil_mode:int=0 storage_order:int=0"),
    OpRow("average_pool", _C, 1, 1, 1, f"{_WINDOW} ceil_mode:int=0 count_include_pad:int=0"),
    OpRow("lp_pool", _C, 1, 1, 1, f"{_WINDOW} ceil_mode:int=0 p:int=2"),
    *_same(_C, "global_average_pool global_max_pool", 1, 1),
    OpRow("global_lp_pool", _C, 1, 1, 1, "p:int=2"),
    OpRow("max_unpool", _C, 2, 3, 1, "kernel_shape:ints pads:ints strides:ints"),
    OpRow("col2_im", _C, 3, 3, 1, "dilations:ints pads:ints strides:ints"),
    OpRow("roi_align", _A, 3, 3, 1,
          "coordinate_transformation_mode:text=half_pixel mode:text=avg output_height:int=1 output_width:int=1 "
          "sampling_ratio:int=0 spatial_scale:float=1"),
    OpRow("resize", _C, 1, 4, 1,
          "antialias:int=0 axes:ints coordinate_transformation_mode:text=half_pixel cubic_coeff_a:float=-0.75 "
          "exclude_outside:int=0 extrapolation_value:float=0 keep_aspect_ratio_policy:text=stretch mode:text=nearest "
          "nearest_mode:text=round_prefer_floor"),
    OpRow("grid_sample", _A, 2, 2, 1, "align_corners:int=0 mode:text=linear padding_mode:text=zeros"),
    # Normalisation.
    OpRow("batch_normalization", _C, 5, 5, 1, "epsilon:float=1e-5"),
    OpRow("layer_normalization", _C, 2, 3, 3, "axis:int=-1 epsilon:float=1e-5"),
    OpRow("rms_normalization", _C, 2, 2, 1, "axis:int=-1 epsilon:float=1e-5"),
    OpRow("instance_normalization", _C, 3, 3, 1, "epsilon:float=1e-5"),
    OpRow("group_normalization", _C, 3, 3, 1, "epsilon:float=1e-5 num_groups:int"),
    OpRow("lp_normalization", _C, 1, 1, 1, "axis:int=-1 p:int=2"),
    OpRow("lrn", _C, 1, 1, 1, "alpha:float=0.0001 beta:float=0.75 bias:float=1 size:int"),
    # Layers with a state.
    OpRow("rnn", _C, 3, 6, 2, _RECURRENT),
    OpRow("gru", _C, 3, 6, 2, f"{_RECURRENT} linear_before_reset:int=0"),
    OpRow("lstm", _C, 3, 8, 3, f"{_RECURRENT} input_forget:int=0"),
    # Integers that stand for numbers.
    OpRow("quantize_linear", _C, 2, 3, 1, "axis:int=1 block_size:int=0 output_dtype:int=0 saturate:int=1"),
    OpRow("dequantize_linear", _C, 2, 3, 1, "axis:int=1 block_size:int=0 output_dtype:int=0"),
    # Movement of elements.
    *_same(_T, "identity", 1, 1),
    OpRow("bit_cast", _T, 1, 1, 1, "to:int"),
    OpRow("reshape", _T, 2, 2, 1, "allowzero:int=0"),
    OpRow("flatten", _T, 1, 1, 1, "axis:int=1"),
    OpRow("squeeze", _T, 1, 2),
    OpRow("unsqueeze", _T, 2, 2),
    OpRow("transpose", _T, 1, 1, 1, "perm:ints"),
    OpRow("concat", _T, 1, _MANY, 1, "axis:int"),
    OpRow("split", _T, 1, 2, _MANY, "axis:int=0 num_outputs:int"),
    OpRow("slice", _T, 3, 5),
    OpRow("pad", _T, 2, 4, 1, "mode:text=constant"),
    *_same(_T, "expand tile", 2, 2),
    OpRow("depth_to_space", _T, 1, 1, 1, "blocksize:int mode:text=DCR"),
    OpRow("space_to_depth", _T, 1, 1, 1, "blocksize:int mode:text=DCR"),
    OpRow("trilu", _T, 1, 2, 1, "upper:int=1"),
    OpRow("reverse_sequence", _T, 2, 2, 1, "batch_axis:int=1 time_axis:int=0"),
    OpRow("gather", _A, 2, 2, 1, "axis:int=0"),
    OpRow("gather_elements", _A, 2, 2, 1, "axis:int=0"),
    OpRow("gather_nd", _A, 2, 2, 1, "batch_dims:int=0"),
    OpRow("scatter_elements", _A, 3, 3, 1, "axis:int=0 reduction:text=none"),
    OpRow("scatter_nd", _A, 3, 3, 1, "reduction:text=none"),
    OpRow("tensor_scatter", _C, 2, 3, 1, "axis:int=-2 mode:text=linear"),
    # What is known of a tensor before it is computed.
    OpRow("shape", _T, 1, 1, 1, "start:int=0 end:int"),
    *_same(_T, "size", 1, 1),
    *_same(_T, "range", 3, 3),
    OpRow("constant_of_shape", _T, 2, 2),  # the shape, and one element
    OpRow("eye_like", _T, 1, 1, 1, "dtype:int k:int=0"),
    OpRow("one_hot", _C, 3, 3, 1, "axis:int=-1"),
    # How much they make is known only when they ran: a tensor with room for all, and a count; `narrow` cuts it.
    OpRow("non_zero_all", _A, 1, 1, 2),
    OpRow("unique_all", _A, 1, 1, 5, "axis:int sorted:int=1"),
    OpRow("compress_all", _C, 2, 2, 2, "axis:int"),
    OpRow("non_max_suppression_all", _A, 2, 5, 2, "center_point_box:int=0"),
    OpRow("narrow", _T, 2, 2, 1, "axis:int=0"),
    # Signals.
    OpRow("dft", _A, 1, 3, 1, "inverse:int=0 onesided:int=0"),
    OpRow("stft", _C, 2, 4, 1, "onesided:int=1"),
    # Control.
    OpRow("if", _F, 1, 1, _MANY, "then_branch:graph else_branch:graph"),
    OpRow("loop", _F, 0, _MANY, _MANY, "body:graph"),
    OpRow("scan", _F, 1, _MANY, _MANY,
          "body:graph num_scan_inputs:int scan_input_axes:ints scan_input_directions:ints scan_output_axes:ints "
          "scan_output_directions:ints"),
)  # fmt: skip

BY_NAME = {row.name: row for row in OPS}

_KEEP = "keepdims:int axes:int..."

ATOMS = (
    # Both operands of one dtype. Integers wrap and divide toward zero.
    AtomRow(1, "add", 2, 2),
    AtomRow(2, "subtract", 2, 2),
    AtomRow(3, "multiply", 2, 2),
    AtomRow(4, "divide", 2, 2),
    AtomRow(5, "maximum", 2, 2),
    AtomRow(6, "minimum", 2, 2),
    AtomRow(14, "power", 2, 2, since=2),  # float32, float64
    AtomRow(128, "remainder", 2, 2, since=3),  # of the divisor's sign
    AtomRow(129, "truncated_remainder", 2, 2, since=3),  # of the dividend's
    AtomRow(130, "bit_and", 2, 2, since=3),
    AtomRow(131, "bit_or", 2, 2, since=3),
    AtomRow(132, "bit_xor", 2, 2, since=3),
    AtomRow(133, "shift_left", 2, 2, since=3),
    AtomRow(134, "shift_right", 2, 2, since=3),
    AtomRow(135, "bit_not", 1, 1, since=3),
    # Comparisons make bool; the logical operators take it.
    AtomRow(8, "equal", 2, 2, since=2),
    AtomRow(9, "less", 2, 2, since=2),
    AtomRow(10, "less_equal", 2, 2, since=2),
    AtomRow(11, "logical_and", 2, 2, since=2),
    AtomRow(12, "logical_or", 2, 2, since=2),
    AtomRow(13, "logical_xor", 2, 2, since=2),
    AtomRow(31, "logical_not", 1, 1, since=2),
    AtomRow(80, "where", 3, 3, since=2),  # condition, then, else
    AtomRow(16, "relu", 1, 1),
    AtomRow(21, "negative", 1, 1),
    AtomRow(22, "clip", 1, 1, 1, "low:float high:float"),
    AtomRow(23, "cast", 1, 1, 1, "dtype:int"),  # what does not fit is clipped; not-a-number is 0
    AtomRow(24, "absolute", 1, 1, since=2),
    AtomRow(150, "sign", 1, 1, since=3),
    AtomRow(151, "is_nan", 1, 1, since=3),
    AtomRow(152, "is_inf", 1, 1, 1, "positive:int negative:int", 3),
    # Functions of float32 and float64.
    AtomRow(15, "log1p", 1, 1, since=2),
    AtomRow(17, "sigmoid", 1, 1),
    AtomRow(18, "tanh", 1, 1),
    AtomRow(19, "exp", 1, 1),
    AtomRow(20, "sqrt", 1, 1),
    AtomRow(25, "logarithm", 1, 1, since=2),
    AtomRow(26, "floor", 1, 1, since=2),
    AtomRow(27, "ceil", 1, 1, since=2),
    AtomRow(28, "round", 1, 1, since=2),  # halves to the even number
    AtomRow(29, "sine", 1, 1, since=2),
    AtomRow(30, "cosine", 1, 1, since=2),
    AtomRow(140, "tangent", 1, 1, since=3),
    AtomRow(141, "arc_sine", 1, 1, since=3),
    AtomRow(142, "arc_cosine", 1, 1, since=3),
    AtomRow(143, "arc_tangent", 1, 1, since=3),
    AtomRow(144, "hyperbolic_sine", 1, 1, since=3),
    AtomRow(145, "hyperbolic_cosine", 1, 1, since=3),
    AtomRow(146, "area_sine", 1, 1, since=3),
    AtomRow(147, "area_cosine", 1, 1, since=3),
    AtomRow(148, "area_tangent", 1, 1, since=3),
    AtomRow(149, "error_function", 1, 1, since=3),
    # Products. gemm: alpha * a @ b + beta * c, float32.
    AtomRow(32, "matmul", 2, 2),
    AtomRow(33, "gemm", 2, 3, 1, "alpha:float beta:float transpose_a:int transpose_b:int"),
    # x (..., k) @ w (k, n) of int8, times a scale a column: rows of x are rounded to 8 bits as they come.
    AtomRow(34, "quantized_matmul", 3, 3, since=4),
    # The same of pictures, each rounded by its largest number, a scale a filter, one group.
    AtomRow(183, "quantized_convolution", 3, 3, 1, "group:int window:int...", 4),
    AtomRow(176, "convolution", 2, 3, 1, "group:int window:int...", 3),
    # Many to one; no axes named means all.
    AtomRow(48, "reduce_sum", 1, 1, 1, _KEEP),
    AtomRow(49, "reduce_mean", 1, 1, 1, _KEEP),
    AtomRow(50, "reduce_max", 1, 1, 1, _KEEP),
    AtomRow(51, "reduce_min", 1, 1, 1, _KEEP),
    AtomRow(55, "reduce_product", 1, 1, 1, _KEEP, 2),
    AtomRow(52, "argmax", 1, 1, 1, "axis:int keepdims:int"),  # int64
    AtomRow(54, "argmin", 1, 1, 1, "axis:int keepdims:int", 2),  # int64
    AtomRow(53, "softmax", 1, 1, 1, "axis:int"),  # float32
    AtomRow(177, "pool", 1, 1, 2, "kind:int count_padding:int power:int window:int...", 3),  # and places
    AtomRow(186, "determinant", 1, 1, since=3),
    # Along one axis, where order counts. argsort: int64, stable; what is not a number comes last.
    AtomRow(56, "cumulative_sum", 1, 1, 1, "axis:int", 2),
    AtomRow(166, "cumulative_product", 1, 1, 1, "axis:int", 3),
    AtomRow(57, "argsort", 1, 1, 1, "axis:int descending:int", 2),
    AtomRow(160, "top_k", 1, 1, 2, "axis:int k:int largest:int", 3),  # values, places
    AtomRow(184, "recurrent", 6, 6, 3, "kind:int reverse:int option:int clip:float activations:int...", 3),
    # By int64 indices; negative ones count from the end.
    AtomRow(69, "take", 2, 2, 1, "axis:int", 2),
    AtomRow(70, "take_along", 2, 2, 1, "axis:int", 2),
    AtomRow(163, "scatter", 3, 3, 1, "axis:int reduction:int", 3),
    AtomRow(164, "scatter_nd", 3, 3, 1, "reduction:int", 3),
    AtomRow(165, "gather_nd", 2, 2, 1, "batch_axes:int", 3),
    AtomRow(161, "nonzero", 1, 1, 2, since=3),  # places, count
    AtomRow(162, "unique", 1, 1, 4, "sorted:int", 3),  # first, kind, how many, count
    AtomRow(185, "non_max_suppression", 2, 2, 2, "most:int centre:int overlap:float score:float", 3),
    # What tasks call directly; a plan uses raster.
    AtomRow(64, "reshape", 1, 1, 1, "shape:int..."),
    AtomRow(65, "transpose", 1, 1, 1, "axes:int..."),
    AtomRow(66, "concat", 1, 64, 1, "axis:int"),
    AtomRow(67, "slice", 1, 1, 1, "axis:int start:int stop:int step:int"),  # as Python's slice
    AtomRow(68, "broadcast", 1, 1, 1, "shape:int...", 2),
    # Signals and pictures. fft: complex numbers as (..., n, 2). resize: (height, width, channels).
    AtomRow(96, "fft", 1, 1, 1, "inverse:int", 2),
    AtomRow(97, "resize", 1, 1, 1, "height:int width:int kind:int", 2),
    AtomRow(178, "interpolate", 3, 3, 1, "axis:int", 3),
    AtomRow(179, "grid_sample", 2, 2, 1, "kind:int padding:int align_corners:int", 3),
    AtomRow(180, "roi_align", 3, 3, 1,
            "height:int width:int ratio:int kind:int half_pixel:int scale:float", 3),
    AtomRow(181, "deformable_gather", 2, 3, 1, "groups:int window:int...", 3),
)  # fmt: skip

ATOM = {row.name: row for row in ATOMS}
RASTER = 200
