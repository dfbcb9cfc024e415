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
#include "tensor/tensor.h"

namespace shoal {

constexpr uint32_t op_set = 1;
constexpr int op_inputs_max = 64;

enum class OpId : uint16_t {
  add = 1, subtract = 2, multiply = 3, divide = 4, maximum = 5, minimum = 6,
  relu = 16, sigmoid = 17, tanh = 18, exp = 19, sqrt = 20, negative = 21, clip = 22, cast = 23,
  matmul = 32, gemm = 33,
  reduce_sum = 48, reduce_mean = 49, reduce_max = 50, reduce_min = 51, argmax = 52, softmax = 53,
  reshape = 64, transpose = 65, concat = 66, slice = 67,
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
  Spec (*infer)(const Op& op, Specs inputs);
  void (*execute)(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels);
};

std::span<const OpRow> op_table();
const OpRow* row_of(uint16_t id);  // null when the op set has no such operator

void check_form(const Op& op, size_t inputs);  // ValueError: wrong number of inputs or attributes
Spec infer(const Op& op, Specs inputs);
Tensor apply(const Op& op, Tensors inputs, const Kernels& kernels);  // check, infer, allocate, execute

// One file a family: elementwise.cpp, product.cpp, reduce.cpp, movement.cpp.
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

// Calls f with a null pointer of the element type: with_type(dtype, [](auto* typed) { ... }).
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
