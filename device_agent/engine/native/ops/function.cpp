// Functions of one or two numbers that run a call an element: they are here to be had, not to be hot.
#include <cmath>
#include <type_traits>

#include "ops/op.h"

namespace shoal {

namespace {

float value_of(OpId id, float x) {
  switch (id) {
    case OpId::logarithm: return std::log(x);
    case OpId::log1p: return std::log1p(x);
    case OpId::floor: return std::floor(x);
    case OpId::ceil: return std::ceil(x);
    case OpId::round: return std::nearbyint(x);  // halves go to the even number, as in numpy and ONNX
    case OpId::sine: return std::sin(x);
    default: return std::cos(x);
  }
}

}  // namespace

void execute_function(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  in_pieces(x.size(), [&](int64_t at, int64_t count) {
    for (int64_t i = at; i < at + count; ++i) out.as<float>()[i] = value_of(op.id, x.as<float>()[i]);
  });
}

Spec infer_signed(const Op& op, Specs inputs) {
  const Dtype dtype = inputs[0].dtype;
  if (dtype == Dtype::uint8 || dtype == Dtype::boolean) refuse_dtype(op, dtype, "float32, int32 or int64");
  return inputs[0];
}

void execute_absolute(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    in_pieces(x.size(), [&](int64_t at, int64_t count) {
      for (int64_t i = at; i < at + count; ++i) {
        const T value = x.as<T>()[i];
        if constexpr (std::is_floating_point_v<T>) out.as<T>()[i] = std::fabs(value);
        else out.as<T>()[i] = static_cast<T>(value < 0 ? 0 - value : value);  // the smallest integer stays, as in numpy
      }
    });
  });
}

Spec infer_power(const Op& op, Specs inputs) {
  for (const Spec& input : inputs)
    if (input.dtype != Dtype::float32) refuse_dtype(op, input.dtype, "float32");
  return {Dtype::float32, broadcast(inputs[0].shape, inputs[1].shape)};
}

void execute_power(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor a = inputs[0].expanded(out.shape()), b = inputs[1].expanded(out.shape());
  walk_lines(merged(a, b, out.shape()), a.as<float>(), b.as<float>(), out.as<float>(),
            [](const float* x, ptrdiff_t sx, const float* y, ptrdiff_t sy, float* to, size_t n) {
              for (size_t i = 0; i < n; ++i, x += sx, y += sy) to[i] = *y == 2.0f ? *x * *x : std::pow(*x, *y);
            });
}

}  // namespace shoal
