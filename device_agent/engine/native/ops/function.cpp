// Functions of one or two numbers that run a call an element: they are here to be had, not to be hot.
#include <cmath>
#include <type_traits>

#include "ops/op.h"

namespace shoal {

namespace {

template <typename T>
T value_of(OpId id, T x) {
  switch (id) {
    case OpId::logarithm: return std::log(x);
    case OpId::log1p: return std::log1p(x);
    case OpId::floor: return std::floor(x);
    case OpId::ceil: return std::ceil(x);
    case OpId::round: return std::nearbyint(x);  // halves go to the even number, as in numpy and ONNX
    case OpId::sine: return std::sin(x);
    case OpId::tangent: return std::tan(x);
    case OpId::arc_sine: return std::asin(x);
    case OpId::arc_cosine: return std::acos(x);
    case OpId::arc_tangent: return std::atan(x);
    case OpId::hyperbolic_sine: return std::sinh(x);
    case OpId::hyperbolic_cosine: return std::cosh(x);
    case OpId::area_sine: return std::asinh(x);
    case OpId::area_cosine: return std::acosh(x);
    case OpId::area_tangent: return std::atanh(x);
    case OpId::error_function: return std::erf(x);
    default: return std::cos(x);
  }
}

}  // namespace

void execute_function(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const auto each = [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    in_pieces(x.size(), [&](int64_t at, int64_t count) {
      for (int64_t i = at; i < at + count; ++i) out.as<T>()[i] = value_of(op.id, x.as<T>()[i]);
    });
  };
  if (x.dtype() == Dtype::float64) return each(static_cast<double*>(nullptr));
  return each(static_cast<float*>(nullptr));
}

// -1, 0 or 1; what is not a number stays so.
void execute_sign(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < x.size(); ++i) {
      const T v = x.as<T>()[i];
      out.as<T>()[i] = v != v ? v : static_cast<T>((v > 0) - (v < 0));
    }
  });
}

Spec infer_test(const Op& op, Specs inputs) {
  return {Dtype::boolean, infer_float(op, inputs).shape};
}

void execute_test(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const bool nan = op.id == OpId::is_nan, positive = nan || op.integer(0), negative = nan || op.integer(1);
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(x.as<T>()[i]);
      out.as<uint8_t>()[i] = nan ? std::isnan(v) : std::isinf(v) && (v > 0 ? positive : negative);
    }
  });
}

Spec infer_signed(const Op& op, Specs inputs) {
  const Dtype dtype = inputs[0].dtype;
  if (dtype == Dtype::uint8 || dtype == Dtype::boolean || is_half(dtype)) refuse_dtype(op, dtype, "float32, int32 or int64");
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
    if (!is_float(input.dtype) || input.dtype != inputs[0].dtype) refuse_dtype(op, input.dtype, "float32 or float64");
  return {inputs[0].dtype, broadcast(inputs[0].shape, inputs[1].shape)};
}

void execute_power(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor a = inputs[0].expanded(out.shape()), b = inputs[1].expanded(out.shape());
  const auto each = [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    walk_lines(merged(a, b, out.shape()), a.as<T>(), b.as<T>(), out.as<T>(),
              [](const T* x, ptrdiff_t sx, const T* y, ptrdiff_t sy, T* to, size_t n) {
                for (size_t i = 0; i < n; ++i, x += sx, y += sy) to[i] = *y == 2 ? *x * *x : std::pow(*x, *y);
              });
  };
  if (out.dtype() == Dtype::float64) return each(static_cast<double*>(nullptr));
  return each(static_cast<float*>(nullptr));
}

}  // namespace shoal
