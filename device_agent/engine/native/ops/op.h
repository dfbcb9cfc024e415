// An operator as data: an id of the op set and its attributes, and what it does with tensors.
//
// Rules: the ids and attributes in table.cpp are what model files hold; device_agent/engine/ops.py says the same, and a
// test compares them. `infer` says dtype and shape of the result or refuses; `execute` fills a contiguous tensor of
// exactly that kind. Both are pure but for that tensor.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "tensor/run.h"
#include "tensor/tensor.h"

namespace shoal {

constexpr uint32_t op_set = 4;
constexpr int op_inputs_max = 64;
constexpr int open_attributes_max = 40;  // words of the last attribute when it takes any number

enum class OpId : uint16_t {
  add = 1, subtract = 2, multiply = 3, divide = 4, maximum = 5, minimum = 6,
  equal = 8, less = 9, less_equal = 10, logical_and = 11, logical_or = 12, logical_xor = 13, power = 14,
  log1p = 15,
  relu = 16, sigmoid = 17, tanh = 18, exp = 19, sqrt = 20, negative = 21, clip = 22, cast = 23,
  absolute = 24, logarithm = 25, floor = 26, ceil = 27, round = 28, sine = 29, cosine = 30, logical_not = 31,
  matmul = 32, gemm = 33, quantized_matmul = 34,
  reduce_sum = 48, reduce_mean = 49, reduce_max = 50, reduce_min = 51, argmax = 52, softmax = 53, argmin = 54,
  reduce_product = 55, cumulative_sum = 56, argsort = 57,
  reshape = 64, transpose = 65, concat = 66, slice = 67, broadcast = 68, take = 69, take_along = 70,
  where = 80,
  fft = 96, resize = 97,
  remainder = 128, truncated_remainder = 129, bit_and = 130, bit_or = 131, bit_xor = 132, shift_left = 133,
  shift_right = 134, bit_not = 135,
  tangent = 140, arc_sine = 141, arc_cosine = 142, arc_tangent = 143, hyperbolic_sine = 144, hyperbolic_cosine = 145,
  area_sine = 146, area_cosine = 147, area_tangent = 148, error_function = 149, sign = 150, is_nan = 151, is_inf = 152,
  top_k = 160, nonzero = 161, unique = 162, scatter = 163, scatter_nd = 164, gather_nd = 165, cumulative_product = 166,
  convolution = 176, pool = 177, interpolate = 178, grid_sample = 179, roi_align = 180, deformable_gather = 181,
  quantized_convolution = 183,
  recurrent = 184, non_max_suppression = 185, determinant = 186,
};

// Attributes are 64-bit words: integers, or the bits of a double where the table says float.
struct Op {
  OpId id;
  std::vector<int64_t> attributes;

  int64_t integer(size_t i) const { return attributes[i]; }
  double number(size_t i) const { return std::bit_cast<double>(attributes[i]); }
  Dims dims(size_t from) const { return Dims(std::span(attributes).subspan(from)); }
};
inline int64_t word_of(double x) { return std::bit_cast<int64_t>(x); }

using Specs = std::span<const Spec>;
using Tensors = std::span<const Tensor>;

struct OpRow {
  OpId id;
  const char* name;
  int inputs_min, inputs_max;
  const char* attributes;  // "low:float high:float"; a last "axes:int..." takes any number
  uint32_t since;          // the op set that brought it
  Spec (*infer)(const Op& op, Specs inputs);
  void (*execute)(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels);
  int outputs = 1;
  // Of an operator with several outputs, in place of the two above.
  std::vector<Spec> (*infer_all)(const Op& op, Specs inputs) = nullptr;
  void (*execute_all)(const Op& op, Tensors inputs, Tensors outputs, const Kernels& kernels) = nullptr;
};

std::span<const OpRow> op_table();
const OpRow* row_of(uint16_t id);  // null when the op set has no such operator

void check_form(const Op& op, size_t inputs);  // ValueError: wrong number of inputs or attributes
Spec infer(const Op& op, Specs inputs);
std::vector<Spec> infer_all(const Op& op, Specs inputs);
void execute_all(const OpRow& row, const Op& op, Tensors inputs, Tensors outputs, const Kernels& kernels);
Tensor apply(const Op& op, Tensors inputs, const Kernels& kernels);  // check, infer, allocate, execute

// One file a family: elementwise.cpp, bits.cpp, logic.cpp, function.cpp, product.cpp, reduce.cpp, order.cpp, search.cpp,
// movement.cpp, gather.cpp, scatter.cpp, spectrum.cpp, resize.cpp, window.cpp, sample.cpp, recurrent.cpp, detect.cpp.
Spec infer_binary(const Op&, Specs);
Spec infer_arithmetic(const Op&, Specs);
Spec infer_float(const Op&, Specs);
Spec infer_same(const Op&, Specs);
Spec infer_cast(const Op&, Specs);
Spec infer_matmul(const Op&, Specs);
Spec infer_gemm(const Op&, Specs);
Spec infer_quantized_matmul(const Op&, Specs);
Spec infer_quantized_convolution(const Op&, Specs);
Spec infer_reduce(const Op&, Specs);
Spec infer_argmax(const Op&, Specs);
Spec infer_softmax(const Op&, Specs);
Spec infer_reshape(const Op&, Specs);
Spec infer_transpose(const Op&, Specs);
Spec infer_concat(const Op&, Specs);
Spec infer_slice(const Op&, Specs);
Spec infer_compare(const Op&, Specs);
Spec infer_logic(const Op&, Specs);
Spec infer_not(const Op&, Specs);
Spec infer_where(const Op&, Specs);
Spec infer_power(const Op&, Specs);
Spec infer_signed(const Op&, Specs);
Spec infer_cumulative(const Op&, Specs);
Spec infer_argsort(const Op&, Specs);
Spec infer_broadcast(const Op&, Specs);
Spec infer_take(const Op&, Specs);
Spec infer_take_along(const Op&, Specs);
Spec infer_fft(const Op&, Specs);
Spec infer_resize(const Op&, Specs);
Spec infer_bits(const Op&, Specs);
Spec infer_remainder(const Op&, Specs);
Spec infer_test(const Op&, Specs);
Spec infer_scatter(const Op&, Specs);
Spec infer_scatter_nd(const Op&, Specs);
Spec infer_gather_nd(const Op&, Specs);
Spec infer_convolution(const Op&, Specs);
Spec infer_interpolate(const Op&, Specs);
Spec infer_grid_sample(const Op&, Specs);
Spec infer_roi_align(const Op&, Specs);
Spec infer_deformable(const Op&, Specs);
Spec infer_determinant(const Op&, Specs);
std::vector<Spec> infer_top_k(const Op&, Specs);
std::vector<Spec> infer_nonzero(const Op&, Specs);
std::vector<Spec> infer_unique(const Op&, Specs);
std::vector<Spec> infer_pool(const Op&, Specs);
std::vector<Spec> infer_recurrent(const Op&, Specs);
std::vector<Spec> infer_suppression(const Op&, Specs);
int64_t resize_kind(const std::string& name);  // "nearest", "smooth", "linear" as an attribute; ValueError for others

void execute_binary(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_unary(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_cast(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_matmul(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_gemm(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_quantized_matmul(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_quantized_convolution(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_reduce(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_argmax(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_softmax(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_reshape(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_transpose(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_concat(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_slice(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_compare(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_logic(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_not(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_where(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_function(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_power(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_absolute(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_product(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_cumulative(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_argsort(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_broadcast(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_take(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_take_along(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_fft(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_resize(const Op&, Tensors, const Tensor&, const Kernels&);

void execute_bits(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_bit_not(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_remainder(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_test(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_sign(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_scatter(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_scatter_nd(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_gather_nd(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_cumulative_product(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_convolution(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_interpolate(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_grid_sample(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_roi_align(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_deformable(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_determinant(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_top_k(const Op&, Tensors, Tensors, const Kernels&);
void execute_nonzero(const Op&, Tensors, Tensors, const Kernels&);
void execute_unique(const Op&, Tensors, Tensors, const Kernels&);
void execute_pool(const Op&, Tensors, Tensors, const Kernels&);
void execute_recurrent(const Op&, Tensors, Tensors, const Kernels&);
void execute_suppression(const Op&, Tensors, Tensors, const Kernels&);

// A (m,k) @ B (k,n) -> out (m,n) with contiguous rows, added to what out holds when `accumulate` (float32 only).
void matrix_product(const Tensor& a, const Tensor& b, const Tensor& out, float alpha, bool accumulate, const Kernels&);
// A negative index counts from the end; ValueError outside.
int64_t index_within(int64_t index, int64_t n);

// The tensor with the masked axes last, contiguous: rows of what belongs together. And back, for one axis.
Tensor rows_last(const Tensor& x, unsigned mask);
void put_rows_back(const Tensor& rows, int axis, const Tensor& out);

// Two broadcast operands over one output shape, adjacent axes merged where both allow it; never without axes.
struct Walk {
  Dims shape, a, b;
};
Walk merged(const Tensor& a, const Tensor& b, const Dims& shape);

template <typename T, typename U, typename Out, typename Line>
Out* walk_axes(const Walk& walk, int axis, const T* a, const U* b, Out* out, const Line& line, KillWatch& watch) {
  const int64_t n = walk.shape[axis], sa = walk.a[axis], sb = walk.b[axis];
  if (axis + 1 == walk.shape.rank()) {
    in_pieces(n, watch, [&](int64_t at, int64_t count) {
      line(a + at * sa, sa, b + at * sb, sb, out + at, static_cast<size_t>(count));
    });
    return out + n;
  }
  for (int64_t i = 0; i < n; ++i) out = walk_axes(walk, axis + 1, a + i * sa, b + i * sb, out, line, watch);
  return out;
}

// Calls line(a, a_step, b, b_step, out, n) for each line of the last axis, long ones in pieces; `out` is contiguous.
template <typename T, typename U, typename Out, typename Line>
void walk_lines(const Walk& walk, const T* a, const U* b, Out* out, const Line& line) {
  KillWatch watch;
  walk_axes(walk, 0, a, b, out, line, watch);
}

// Throws DtypeError, naming the operator.
[[noreturn]] void refuse_dtype(const Op& op, Dtype dtype, const char* takes);

// Calls f with a null pointer of the element type (bool's is uint8_t, a 16-bit float's uint16_t, its bits): with_type(dtype, [](auto* typed) { ... }).
template <typename F>
decltype(auto) with_type(Dtype dtype, F f) {
  switch (dtype) {
    case Dtype::float32: return f(static_cast<float*>(nullptr));
    case Dtype::int32: return f(static_cast<int32_t*>(nullptr));
    case Dtype::int64: return f(static_cast<int64_t*>(nullptr));
    case Dtype::float64: return f(static_cast<double*>(nullptr));
    case Dtype::int8: return f(static_cast<int8_t*>(nullptr));
    case Dtype::int16: return f(static_cast<int16_t*>(nullptr));
    case Dtype::float16:
    case Dtype::bfloat16:
    case Dtype::uint16: return f(static_cast<uint16_t*>(nullptr));
    case Dtype::uint32: return f(static_cast<uint32_t*>(nullptr));
    case Dtype::uint64: return f(static_cast<uint64_t*>(nullptr));
    default: return f(static_cast<uint8_t*>(nullptr));
  }
}

}  // namespace shoal
