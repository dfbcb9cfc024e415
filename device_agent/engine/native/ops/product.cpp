// Matrix products.
#include "ops/op.h"

namespace shoal {

namespace {

void need_float(const char* name, Specs inputs) {
  for (const Spec& input : inputs)
    if (input.dtype != Dtype::float32)
      throw DtypeError(std::string(name) + " takes float32, not " + name_of(input.dtype) + ": cast it first");
}

void mismatch(const char* name, const Spec& a, const Spec& b) {
  throw ValueError(std::string(name) + " of shapes " + text_of(a.shape) + " and " + text_of(b.shape) +
                   ": the inner axes differ");
}

// For types without a fast kernel.
template <typename T>
void multiply_plain(const Tensor& a, const Tensor& b, const Tensor& out) {
  const int64_t m = a.shape()[0], k = a.shape()[1], n = b.shape()[1];
  for (int64_t i = 0; i < m; ++i) {
    T* row = out.as<T>() + i * out.strides()[0];
    for (int64_t j = 0; j < n; ++j) row[j] = T{};
    for (int64_t p = 0; p < k; ++p) {
      const T x = a.as<T>()[i * a.strides()[0] + p * a.strides()[1]];
      const T* y = b.as<T>() + p * b.strides()[0];
      for (int64_t j = 0; j < n; ++j) row[j] = static_cast<T>(row[j] + x * y[j * b.strides()[1]]);
    }
  }
}

// A (m,k) @ B (k,n) -> out (m,n), added to what out holds when `accumulate`.
void multiply(const Tensor& a, const Tensor& b, const Tensor& out, float alpha, bool accumulate,
              const Kernels& kernels) {
  if (out.dtype() != Dtype::float32)
    return with_type(out.dtype(), [&](auto* typed) { multiply_plain<std::remove_pointer_t<decltype(typed)>>(a, b, out); });
  const Gemm gemm{static_cast<size_t>(a.shape()[0]),
                  static_cast<size_t>(b.shape()[1]),
                  static_cast<size_t>(a.shape()[1]),
                  alpha,
                  a.as<float>(),
                  a.strides()[0],
                  a.strides()[1],
                  b.as<float>(),
                  b.strides()[0],
                  b.strides()[1],
                  out.as<float>(),
                  out.strides()[0],
                  accumulate,
                  bounds_here() == nullptr ? nullptr : &bounds_here()->cancelled};
  const auto workspace = allocate(static_cast<int64_t>(kernels.gemm_workspace(gemm) * sizeof(float)));
  kernels.gemm(gemm, reinterpret_cast<float*>(workspace.get()));
  KillWatch().look();  // a product that was cut short is no product
}

// The axes before the last two.
Dims batch_of(const Dims& shape) { return Dims(std::span(shape.begin(), shape.end() - 2)); }

// One-dimensional operands take part as a row (left) or a column (right).
Dims as_matrix(const Dims& shape, bool left) {
  if (shape.rank() != 1) return shape;
  return left ? Dims{1, shape[0]} : Dims{shape[0], 1};
}

Tensor as_matrix(const Tensor& x, bool left) {
  if (x.rank() != 1) return x;
  const int64_t step = x.strides()[0];
  return {{x.dtype(), as_matrix(x.shape(), left)}, left ? Dims{0, step} : Dims{step, 0}, x.storage(), x.data()};
}

void multiply_batches(const Tensor& a, const Tensor& b, const Tensor& out, const Kernels& kernels) {
  if (out.rank() == 2) return multiply(a, b, out, 1.0f, false, kernels);
  for (int64_t i = 0; i < out.shape()[0]; ++i)
    multiply_batches(a.picked(0, i), b.picked(0, i), out.picked(0, i), kernels);
}

Dims with_matrix(Dims batch, int64_t rows, int64_t columns) {
  batch.push(rows);
  batch.push(columns);
  return batch;
}

}  // namespace

void matrix_product(const Tensor& a, const Tensor& b, const Tensor& out, float alpha, bool accumulate,
                    const Kernels& kernels) {
  multiply(a, b, out, alpha, accumulate, kernels);
}

Spec infer_matmul(const Op&, Specs inputs) {
  const Dtype dtype = inputs[0].dtype;
  if (inputs[1].dtype != dtype || size_of(dtype) < 4)
    throw DtypeError(std::string("matmul of ") + name_of(dtype) + " and " + name_of(inputs[1].dtype) +
                     ": cast both to one type of 32 or 64 bits");
  if (inputs[0].shape.rank() == 0 || inputs[1].shape.rank() == 0) throw ValueError("matmul needs at least one axis");
  const Dims a = as_matrix(inputs[0].shape, true), b = as_matrix(inputs[1].shape, false);
  if (a[a.rank() - 1] != b[b.rank() - 2]) mismatch("matmul", inputs[0], inputs[1]);
  Dims shape = broadcast(batch_of(a), batch_of(b));
  if (inputs[0].shape.rank() > 1) shape.push(a[a.rank() - 2]);
  if (inputs[1].shape.rank() > 1) shape.push(b[b.rank() - 1]);
  return {dtype, shape};
}

void execute_matmul(const Op&, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const Tensor a = as_matrix(inputs[0], true), b = as_matrix(inputs[1], false);
  const int64_t m = a.shape()[a.rank() - 2], k = a.shape()[a.rank() - 1], n = b.shape()[b.rank() - 1];
  if (b.rank() == 2 && a.rank() > 2 && a.contiguous()) {  // (..., m, k) @ (k, n) is one tall product
    const int64_t rows = out.size() / n;
    return multiply(a.reshaped({rows, k}), b, out.reshaped({rows, n}), 1.0f, false, kernels);
  }
  const Dims batch = broadcast(batch_of(a.shape()), batch_of(b.shape()));
  multiply_batches(a.expanded(with_matrix(batch, m, k)), b.expanded(with_matrix(batch, k, n)),
                   out.reshaped(with_matrix(batch, m, n)), kernels);
}

Spec infer_gemm(const Op& op, Specs inputs) {
  need_float("gemm", inputs);
  const Spec &a = inputs[0], &b = inputs[1];
  if (a.shape.rank() != 2 || b.shape.rank() != 2) throw ValueError("gemm takes matrices");
  const int ta = op.integer(2) != 0, tb = op.integer(3) != 0;
  if (a.shape[1 - ta] != b.shape[tb]) mismatch("gemm", a, b);
  const Dims shape{a.shape[ta], b.shape[1 - tb]};
  if (inputs.size() == 3 && !(broadcast(inputs[2].shape, shape) == shape))
    throw ValueError("gemm's bias " + text_of(inputs[2].shape) + " does not broadcast to " + text_of(shape));
  return {Dtype::float32, shape};
}

void execute_gemm(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const Tensor a = op.integer(2) ? inputs[0].transposed({1, 0}) : inputs[0];
  const Tensor b = op.integer(3) ? inputs[1].transposed({1, 0}) : inputs[1];
  const float beta = static_cast<float>(op.number(1));
  const bool bias = inputs.size() == 3 && beta != 0.0f;
  if (bias) {
    copy_elements(inputs[2].expanded(out.shape()), out);
    if (beta != 1.0f)
      kernels.binary_f32(Binary::multiply, out.as<float>(), 1, &beta, 0, out.as<float>(),
                         static_cast<size_t>(out.size()));
  }
  multiply(a, b, out, static_cast<float>(op.number(0)), bias, kernels);
}

}  // namespace shoal
