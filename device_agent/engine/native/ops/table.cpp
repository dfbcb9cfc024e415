// The op set on one page.
#include <cstring>

#include "ops/op.h"

namespace shoal {

namespace {

constexpr OpRow rows[] = {
    {OpId::add, "add", 2, 2, "", infer_binary, execute_binary},
    {OpId::subtract, "subtract", 2, 2, "", infer_binary, execute_binary},
    {OpId::multiply, "multiply", 2, 2, "", infer_binary, execute_binary},
    {OpId::divide, "divide", 2, 2, "", infer_binary, execute_binary},
    {OpId::maximum, "maximum", 2, 2, "", infer_binary, execute_binary},
    {OpId::minimum, "minimum", 2, 2, "", infer_binary, execute_binary},

    {OpId::relu, "relu", 1, 1, "", infer_same, execute_unary},
    {OpId::sigmoid, "sigmoid", 1, 1, "", infer_float, execute_unary},
    {OpId::tanh, "tanh", 1, 1, "", infer_float, execute_unary},
    {OpId::exp, "exp", 1, 1, "", infer_float, execute_unary},
    {OpId::sqrt, "sqrt", 1, 1, "", infer_float, execute_unary},
    {OpId::negative, "negative", 1, 1, "", infer_same, execute_unary},
    {OpId::clip, "clip", 1, 1, "low:float high:float", infer_same, execute_unary},
    {OpId::cast, "cast", 1, 1, "dtype:int", infer_cast, execute_cast},

    {OpId::matmul, "matmul", 2, 2, "", infer_matmul, execute_matmul},
    {OpId::gemm, "gemm", 2, 3, "alpha:float beta:float transpose_a:int transpose_b:int", infer_gemm, execute_gemm},

    {OpId::reduce_sum, "reduce_sum", 1, 1, "keepdims:int axes:int...", infer_reduce, execute_reduce},
    {OpId::reduce_mean, "reduce_mean", 1, 1, "keepdims:int axes:int...", infer_reduce, execute_reduce},
    {OpId::reduce_max, "reduce_max", 1, 1, "keepdims:int axes:int...", infer_reduce, execute_reduce},
    {OpId::reduce_min, "reduce_min", 1, 1, "keepdims:int axes:int...", infer_reduce, execute_reduce},
    {OpId::argmax, "argmax", 1, 1, "axis:int keepdims:int", infer_argmax, execute_argmax},
    {OpId::softmax, "softmax", 1, 1, "axis:int", infer_softmax, execute_softmax},

    {OpId::reshape, "reshape", 1, 1, "shape:int...", infer_reshape, execute_reshape},
    {OpId::transpose, "transpose", 1, 1, "axes:int...", infer_transpose, execute_transpose},
    {OpId::concat, "concat", 1, op_inputs_max, "axis:int", infer_concat, execute_concat},
    {OpId::slice, "slice", 1, 1, "axis:int start:int stop:int step:int", infer_slice, execute_slice},
};

size_t named_attributes(const OpRow& row) {
  size_t count = 0;
  for (const char* at = row.attributes; (at = std::strchr(at, ':')) != nullptr; ++at) ++count;
  return count;
}

}  // namespace

std::span<const OpRow> op_table() { return rows; }

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
  if (open ? have + 1 < named || have > named - 1 + rank_max : have != named)
    throw ValueError(std::string(row.name) + " does not take " + std::to_string(have) + " attributes");
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
