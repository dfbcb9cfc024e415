// The op set on one page.
#include <cstring>

#include "ops/op.h"

namespace shoal {

namespace {

constexpr OpRow rows[] = {
    {OpId::add, "add", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::subtract, "subtract", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::multiply, "multiply", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::divide, "divide", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::maximum, "maximum", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::minimum, "minimum", 2, 2, "", 1, infer_binary, execute_binary},
    {OpId::equal, "equal", 2, 2, "", 2, infer_compare, execute_compare},
    {OpId::less, "less", 2, 2, "", 2, infer_compare, execute_compare},
    {OpId::less_equal, "less_equal", 2, 2, "", 2, infer_compare, execute_compare},
    {OpId::logical_and, "logical_and", 2, 2, "", 2, infer_logic, execute_logic},
    {OpId::logical_or, "logical_or", 2, 2, "", 2, infer_logic, execute_logic},
    {OpId::logical_xor, "logical_xor", 2, 2, "", 2, infer_logic, execute_logic},
    {OpId::power, "power", 2, 2, "", 2, infer_power, execute_power},

    {OpId::relu, "relu", 1, 1, "", 1, infer_same, execute_unary},
    {OpId::sigmoid, "sigmoid", 1, 1, "", 1, infer_float, execute_unary},
    {OpId::tanh, "tanh", 1, 1, "", 1, infer_float, execute_unary},
    {OpId::exp, "exp", 1, 1, "", 1, infer_float, execute_unary},
    {OpId::sqrt, "sqrt", 1, 1, "", 1, infer_float, execute_unary},
    {OpId::negative, "negative", 1, 1, "", 1, infer_same, execute_unary},
    {OpId::clip, "clip", 1, 1, "low:float high:float", 1, infer_same, execute_unary},
    {OpId::cast, "cast", 1, 1, "dtype:int", 1, infer_cast, execute_cast},
    {OpId::absolute, "absolute", 1, 1, "", 2, infer_signed, execute_absolute},
    {OpId::logarithm, "logarithm", 1, 1, "", 2, infer_float, execute_function},
    {OpId::log1p, "log1p", 1, 1, "", 2, infer_float, execute_function},
    {OpId::floor, "floor", 1, 1, "", 2, infer_float, execute_function},
    {OpId::ceil, "ceil", 1, 1, "", 2, infer_float, execute_function},
    {OpId::round, "round", 1, 1, "", 2, infer_float, execute_function},
    {OpId::sine, "sine", 1, 1, "", 2, infer_float, execute_function},
    {OpId::cosine, "cosine", 1, 1, "", 2, infer_float, execute_function},
    {OpId::logical_not, "logical_not", 1, 1, "", 2, infer_not, execute_not},
    {OpId::where, "where", 3, 3, "", 2, infer_where, execute_where},

    {OpId::matmul, "matmul", 2, 2, "", 1, infer_matmul, execute_matmul},
    {OpId::gemm, "gemm", 2, 3, "alpha:float beta:float transpose_a:int transpose_b:int", 1, infer_gemm, execute_gemm},
    {OpId::quantized_matmul, "quantized_matmul", 3, 3, "", 4, infer_quantized_matmul, execute_quantized_matmul},
    {OpId::quantized_convolution, "quantized_convolution", 3, 3, "group:int window:int...", 4, infer_quantized_convolution,
     execute_quantized_convolution},

    {OpId::reduce_sum, "reduce_sum", 1, 1, "keepdims:int axes:int...", 1, infer_reduce, execute_reduce},
    {OpId::reduce_mean, "reduce_mean", 1, 1, "keepdims:int axes:int...", 1, infer_reduce, execute_reduce},
    {OpId::reduce_max, "reduce_max", 1, 1, "keepdims:int axes:int...", 1, infer_reduce, execute_reduce},
    {OpId::reduce_min, "reduce_min", 1, 1, "keepdims:int axes:int...", 1, infer_reduce, execute_reduce},
    {OpId::argmax, "argmax", 1, 1, "axis:int keepdims:int", 1, infer_argmax, execute_argmax},
    {OpId::softmax, "softmax", 1, 1, "axis:int", 1, infer_softmax, execute_softmax},
    {OpId::argmin, "argmin", 1, 1, "axis:int keepdims:int", 2, infer_argmax, execute_argmax},
    {OpId::reduce_product, "reduce_product", 1, 1, "keepdims:int axes:int...", 2, infer_reduce, execute_product},
    {OpId::cumulative_sum, "cumulative_sum", 1, 1, "axis:int", 2, infer_cumulative, execute_cumulative},
    {OpId::argsort, "argsort", 1, 1, "axis:int descending:int", 2, infer_argsort, execute_argsort},

    {OpId::reshape, "reshape", 1, 1, "shape:int...", 1, infer_reshape, execute_reshape},
    {OpId::transpose, "transpose", 1, 1, "axes:int...", 1, infer_transpose, execute_transpose},
    {OpId::concat, "concat", 1, op_inputs_max, "axis:int", 1, infer_concat, execute_concat},
    {OpId::slice, "slice", 1, 1, "axis:int start:int stop:int step:int", 1, infer_slice, execute_slice},
    {OpId::broadcast, "broadcast", 1, 1, "shape:int...", 2, infer_broadcast, execute_broadcast},
    {OpId::take, "take", 2, 2, "axis:int", 2, infer_take, execute_take},
    {OpId::take_along, "take_along", 2, 2, "axis:int", 2, infer_take_along, execute_take_along},

    {OpId::fft, "fft", 1, 1, "inverse:int", 2, infer_fft, execute_fft},
    {OpId::resize, "resize", 1, 1, "height:int width:int kind:int", 2, infer_resize, execute_resize},

    {OpId::remainder, "remainder", 2, 2, "", 3, infer_remainder, execute_remainder},
    {OpId::truncated_remainder, "truncated_remainder", 2, 2, "", 3, infer_remainder, execute_remainder},
    {OpId::bit_and, "bit_and", 2, 2, "", 3, infer_bits, execute_bits},
    {OpId::bit_or, "bit_or", 2, 2, "", 3, infer_bits, execute_bits},
    {OpId::bit_xor, "bit_xor", 2, 2, "", 3, infer_bits, execute_bits},
    {OpId::shift_left, "shift_left", 2, 2, "", 3, infer_bits, execute_bits},
    {OpId::shift_right, "shift_right", 2, 2, "", 3, infer_bits, execute_bits},
    {OpId::bit_not, "bit_not", 1, 1, "", 3, infer_bits, execute_bit_not},
    {OpId::tangent, "tangent", 1, 1, "", 3, infer_float, execute_function},
    {OpId::arc_sine, "arc_sine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::arc_cosine, "arc_cosine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::arc_tangent, "arc_tangent", 1, 1, "", 3, infer_float, execute_function},
    {OpId::hyperbolic_sine, "hyperbolic_sine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::hyperbolic_cosine, "hyperbolic_cosine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::area_sine, "area_sine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::area_cosine, "area_cosine", 1, 1, "", 3, infer_float, execute_function},
    {OpId::area_tangent, "area_tangent", 1, 1, "", 3, infer_float, execute_function},
    {OpId::error_function, "error_function", 1, 1, "", 3, infer_float, execute_function},
    {OpId::sign, "sign", 1, 1, "", 3, infer_same, execute_sign},
    {OpId::is_nan, "is_nan", 1, 1, "", 3, infer_test, execute_test},
    {OpId::is_inf, "is_inf", 1, 1, "positive:int negative:int", 3, infer_test, execute_test},

    {OpId::top_k, "top_k", 1, 1, "axis:int k:int largest:int", 3, nullptr, nullptr, 2, infer_top_k, execute_top_k},
    {OpId::nonzero, "nonzero", 1, 1, "", 3, nullptr, nullptr, 2, infer_nonzero, execute_nonzero},
    {OpId::unique, "unique", 1, 1, "sorted:int", 3, nullptr, nullptr, 4, infer_unique, execute_unique},
    {OpId::scatter, "scatter", 3, 3, "axis:int reduction:int", 3, infer_scatter, execute_scatter},
    {OpId::scatter_nd, "scatter_nd", 3, 3, "reduction:int", 3, infer_scatter_nd, execute_scatter_nd},
    {OpId::gather_nd, "gather_nd", 2, 2, "batch_axes:int", 3, infer_gather_nd, execute_gather_nd},
    {OpId::cumulative_product, "cumulative_product", 1, 1, "axis:int", 3, infer_cumulative, execute_cumulative_product},

    {OpId::convolution, "convolution", 2, 3, "group:int window:int...", 3, infer_convolution, execute_convolution},
    {OpId::pool, "pool", 1, 1, "kind:int count_padding:int power:int window:int...", 3, nullptr, nullptr, 2, infer_pool,
     execute_pool},
    {OpId::interpolate, "interpolate", 3, 3, "axis:int", 3, infer_interpolate, execute_interpolate},
    {OpId::grid_sample, "grid_sample", 2, 2, "kind:int padding:int align_corners:int", 3, infer_grid_sample,
     execute_grid_sample},
    {OpId::roi_align, "roi_align", 3, 3,
     "height:int width:int ratio:int kind:int half_pixel:int scale:float", 3, infer_roi_align, execute_roi_align},
    {OpId::deformable_gather, "deformable_gather", 2, 3, "groups:int window:int...", 3, infer_deformable,
     execute_deformable},

    {OpId::recurrent, "recurrent", 6, 6, "kind:int reverse:int option:int clip:float activations:int...",
     3, nullptr, nullptr, 3, infer_recurrent, execute_recurrent},
    {OpId::non_max_suppression, "non_max_suppression", 2, 2,
     "most:int centre:int overlap:float score:float", 3, nullptr, nullptr, 2, infer_suppression, execute_suppression},
    {OpId::determinant, "determinant", 1, 1, "", 3, infer_determinant, execute_determinant},
};

size_t named_attributes(const OpRow& row) {
  size_t count = 0;
  for (const char* at = row.attributes; (at = std::strchr(at, ':')) != nullptr; ++at) ++count;
  return count;
}

}  // namespace

std::span<const OpRow> op_table() { return rows; }

void refuse_dtype(const Op& op, Dtype dtype, const char* takes) {
  throw DtypeError(std::string(row_of(static_cast<uint16_t>(op.id))->name) + " takes " + takes + ", not " +
                   name_of(dtype) + ": cast it first");
}

const OpRow* row_of(uint16_t id) {
  for (const OpRow& row : rows)
    if (static_cast<uint16_t>(row.id) == id) return &row;
  return nullptr;
}

void check_form(const Op& op, size_t inputs) {
  const OpRow& row = *row_of(static_cast<uint16_t>(op.id));
  if (inputs < static_cast<size_t>(row.inputs_min) || inputs > static_cast<size_t>(row.inputs_max))
    throw ValueError(std::string(row.name) + " does not take " + std::to_string(inputs) + " inputs");
  const size_t named = named_attributes(row);
  const bool open = std::strstr(row.attributes, "...") != nullptr;
  const size_t have = op.attributes.size();
  if (open ? have + 1 < named || have > named - 1 + open_attributes_max : have != named)
    throw ValueError(std::string(row.name) + " does not take " + std::to_string(have) + " attributes");
}

std::vector<Spec> infer_all(const Op& op, Specs inputs) {
  const OpRow& row = *row_of(static_cast<uint16_t>(op.id));
  std::vector<Spec> out = row.infer_all ? row.infer_all(op, inputs) : std::vector<Spec>{row.infer(op, inputs)};
  for (const Spec& spec : out)
    if (spec.bytes() > tensor_bytes_max) throw ValueError("a result of shape " + text_of(spec.shape) + " is too big");
  return out;
}

void execute_all(const OpRow& row, const Op& op, Tensors inputs, Tensors outputs, const Kernels& kernels) {
  if (row.execute_all) return row.execute_all(op, inputs, outputs, kernels);
  if (outputs[0].size() > 0) row.execute(op, inputs, outputs[0], kernels);
}

Spec infer(const Op& op, Specs inputs) {
  Spec out = row_of(static_cast<uint16_t>(op.id))->infer(op, inputs);
  if (out.bytes() > tensor_bytes_max) throw ValueError("a result of shape " + text_of(out.shape) + " is too big");
  return out;
}

Tensor apply(const Op& op, Tensors inputs, const Kernels& kernels) {
  check_form(op, inputs.size());
  std::vector<Spec> specs;
  for (const Tensor& input : inputs) specs.push_back(input.spec());
  Tensor out(infer(op, specs));
  if (out.size() > 0) row_of(static_cast<uint16_t>(op.id))->execute(op, inputs, out, kernels);
  return out;
}

}  // namespace shoal
