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

constexpr uint32_t op_set = 2;
constexpr int op_inputs_max = 64;

enum class OpId : uint16_t {
  add = 1, subtract = 2, multiply = 3, divide = 4, maximum = 5, minimum = 6,
  equal = 8, less = 9, less_equal = 10, logical_and = 11, logical_or = 12, logical_xor = 13, power = 14,
  log1p = 15,
  relu = 16, sigmoid = 17, tanh = 18, exp = 19, sqrt = 20, negative = 21, clip = 22, cast = 23,
  absolute = 24, logarithm = 25, floor = 26, ceil = 27, round = 28, sine = 29, cosine = 30, logical_not = 31,
  matmul = 32, gemm = 33,
  reduce_sum = 48, reduce_mean = 49, reduce_max = 50, reduce_min = 51, argmax = 52, softmax = 53, argmin = 54,
  reduce_product = 55, cumulative_sum = 56, argsort = 57,
  reshape = 64, transpose = 65, concat = 66, slice = 67, broadcast = 68, take = 69, take_along = 70,
  where = 80,
  fft = 96, resize = 97,
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
};

std::span<const OpRow> op_table();
const OpRow* row_of(uint16_t id);  // null when the op set has no such operator

void check_form(const Op& op, size_t inputs);  // ValueError: wrong number of inputs or attributes
Spec infer(const Op& op, Specs inputs);
Tensor apply(const Op& op, Tensors inputs, const Kernels& kernels);  // check, infer, allocate, execute

// One file a family: elementwise.cpp, logic.cpp, function.cpp, product.cpp, reduce.cpp, order.cpp, movement.cpp,
// gather.cpp, spectrum.cpp, resize.cpp.
Spec infer_binary(const Op&, Specs);
Spec infer_arithmetic(const Op&, Specs);
Spec infer_float(const Op&, Specs);
Spec infer_same(const Op&, Specs);
Spec infer_cast(const Op&, Specs);
Spec infer_matmul(const Op&, Specs);
Spec infer_gemm(const Op&, Specs);
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
int64_t resize_kind(const std::string& name);  // "nearest", "smooth", "linear" as an attribute; ValueError for others

void execute_binary(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_unary(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_cast(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_matmul(const Op&, Tensors, const Tensor&, const Kernels&);
void execute_gemm(const Op&, Tensors, const Tensor&, const Kernels&);
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

// Calls f with a null pointer of the element type (bool's is uint8_t): with_type(dtype, [](auto* typed) { ... }).
template <typename F>
decltype(auto) with_type(Dtype dtype, F f) {
  switch (dtype) {
    case Dtype::float32: return f(static_cast<float*>(nullptr));
    case Dtype::int32: return f(static_cast<int32_t*>(nullptr));
    case Dtype::int64: return f(static_cast<int64_t*>(nullptr));
    default: return f(static_cast<uint8_t*>(nullptr));
  }
}

}  // namespace shoal
