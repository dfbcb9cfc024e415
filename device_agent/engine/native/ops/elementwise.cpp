// Operators that work element by element, with broadcasting.
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/op.h"
#include "tensor/half.h"

namespace shoal {

Spec infer_binary(const Op& op, Specs inputs) {
  if (inputs[0].dtype != inputs[1].dtype)
    throw DtypeError(std::string(row_of(static_cast<uint16_t>(op.id))->name) + " of " + name_of(inputs[0].dtype) +
                     " and " + name_of(inputs[1].dtype) + ": cast one of them first");
  if (inputs[0].dtype == Dtype::boolean || is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers");
  return {inputs[0].dtype, broadcast(inputs[0].shape, inputs[1].shape)};
}

Spec infer_same(const Op& op, Specs inputs) {
  if (inputs[0].dtype == Dtype::boolean || is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers");
  return inputs[0];
}

Spec infer_float(const Op& op, Specs inputs) {
  if (!is_float(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "float32 or float64");
  return inputs[0];
}

Spec infer_cast(const Op& op, Specs inputs) {
  const int64_t code = op.integer(0);
  if (code < 0 || code > 255 || !is_dtype(static_cast<uint8_t>(code)))
    throw ValueError("cast to the unknown dtype " + std::to_string(code));
  return {static_cast<Dtype>(code), inputs[0].shape};
}

Walk merged(const Tensor& a, const Tensor& b, const Dims& shape) {
  Walk out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) continue;
    const int last = out.shape.rank() - 1;
    if (last >= 0 && out.a[last] == a.strides()[i] * shape[i] && out.b[last] == b.strides()[i] * shape[i]) {
      out.shape[last] *= shape[i];
      out.a[last] = a.strides()[i];
      out.b[last] = b.strides()[i];
    } else {
      out.shape.push(shape[i]);
      out.a.push(a.strides()[i]);
      out.b.push(b.strides()[i]);
    }
  }
  if (out.shape.rank() == 0) out = {{1}, {0}, {0}};
  return out;
}

namespace {

template <typename T>
void divide_integers(const T* a, ptrdiff_t sa, const T* b, ptrdiff_t sb, T* out, size_t n) {
  for (size_t i = 0; i < n; ++i, a += sa, b += sb) {
    if (*b == 0) throw ValueError("an integer is divided by zero");
    if constexpr (std::is_signed_v<T>) {
      if (*b == -1) {  // the smallest integer has no negative: it wraps
        out[i] = static_cast<T>(0 - static_cast<std::make_unsigned_t<T>>(*a));
        continue;
      }
    }
    out[i] = static_cast<T>(*a / *b);
  }
}

template <typename T>
T value_of(Binary kind, T a, T b) {
  switch (kind) {
    case Binary::add: return static_cast<T>(a + b);
    case Binary::subtract: return static_cast<T>(a - b);
    case Binary::multiply: return static_cast<T>(a * b);
    case Binary::divide:
      if constexpr (std::is_floating_point_v<T>) return a / b;
      else return T{};  // divide_integers does it
    case Binary::maximum: return a != a || a > b ? a : b;
    default: return a != a || a < b ? a : b;
  }
}

// For types without vector kernels.
template <typename T>
void binary_plain(Binary kind, const T* a, ptrdiff_t sa, const T* b, ptrdiff_t sb, T* out, size_t n) {
  for (size_t i = 0; i < n; ++i, a += sa, b += sb) out[i] = value_of(kind, *a, *b);
}

template <typename T>
void unary_plain(Unary kind, const T* x, T* out, size_t n, T low, T high) {
  for (size_t i = 0; i < n; ++i) {
    const T v = x[i];
    switch (kind) {
      case Unary::relu: out[i] = v < 0 ? T{} : v; break;
      case Unary::negative: out[i] = static_cast<T>(0 - v); break;
      case Unary::clip: out[i] = v < low ? low : v > high ? high : v; break;
      default:
        if constexpr (std::is_floating_point_v<T>) {
          if (kind == Unary::sigmoid) out[i] = 1 / (1 + std::exp(-v));
          else if (kind == Unary::tanh) out[i] = std::tanh(v);
          else if (kind == Unary::exp) out[i] = std::exp(v);
          else out[i] = std::sqrt(v);
        } else {
          out[i] = v;
        }
    }
  }
}

template <typename T>
BinaryKernel<T> binary_kernel(const Kernels& kernels) {
  if constexpr (std::is_same_v<T, float>) return kernels.binary_f32;
  else if constexpr (std::is_same_v<T, int32_t>) return kernels.binary_i32;
  else if constexpr (std::is_same_v<T, int64_t>) return kernels.binary_i64;
  else if constexpr (std::is_same_v<T, uint8_t>) return kernels.binary_u8;
  else return binary_plain<T>;
}

template <typename T>
UnaryKernel<T> unary_kernel(const Kernels& kernels) {
  if constexpr (std::is_same_v<T, float>) return kernels.unary_f32;
  else if constexpr (std::is_same_v<T, int32_t>) return kernels.unary_i32;
  else if constexpr (std::is_same_v<T, int64_t>) return kernels.unary_i64;
  else if constexpr (std::is_same_v<T, uint8_t>) return kernels.unary_u8;
  else return unary_plain<T>;
}

// A number in another type: what does not fit becomes the nearest that does, not-a-number becomes 0.
template <typename To, typename From>
To saturated(From x) {
  if constexpr (std::is_floating_point_v<To>) {
    return static_cast<To>(x);
  } else if constexpr (std::is_floating_point_v<From>) {
    if (std::isnan(x)) return 0;
    if (x <= static_cast<From>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
    if (x >= static_cast<From>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
    return static_cast<To>(x);
  } else {
    return static_cast<To>(x);  // between integers the low bits stay, as in numpy
  }
}

}  // namespace

void execute_binary(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const Tensor a = inputs[0].expanded(out.shape()), b = inputs[1].expanded(out.shape());
  const Walk walk = merged(a, b, out.shape());
  const Binary kind = static_cast<Binary>(static_cast<int>(op.id) - static_cast<int>(OpId::add));
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    if (std::is_integral_v<T> && kind == Binary::divide) {
      if constexpr (std::is_integral_v<T>)
        walk_lines(walk, a.as<T>(), b.as<T>(), out.as<T>(), divide_integers<T>);
      return;
    }
    const auto kernel = binary_kernel<T>(kernels);
    walk_lines(walk, a.as<T>(), b.as<T>(), out.as<T>(),
              [&](const T* x, ptrdiff_t sx, const T* y, ptrdiff_t sy, T* to, size_t n) {
                kernel(kind, x, sx, y, sy, to, n);
              });
  });
}

void execute_unary(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const Tensor x = contiguous(inputs[0]);
  const Unary kind = static_cast<Unary>(static_cast<int>(op.id) - static_cast<int>(OpId::relu));
  const bool clip = op.id == OpId::clip;
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const T low = clip ? saturated<T>(op.number(0)) : T{}, high = clip ? saturated<T>(op.number(1)) : T{};
    const auto kernel = unary_kernel<T>(kernels);
    in_pieces(x.size(), [&](int64_t at, int64_t count) {
      kernel(kind, x.as<T>() + at, out.as<T>() + at, static_cast<size_t>(count), low, high);
    });
  });
}

namespace {

// 16-bit floats are cast by way of float32.
Tensor widened(const Tensor& x) {
  Tensor out({Dtype::float32, x.shape()});
  const auto widen = x.dtype() == Dtype::float16 ? from_float16 : from_bfloat16;
  for (int64_t i = 0; i < x.size(); ++i) out.as<float>()[i] = widen(x.as<uint16_t>()[i]);
  return out;
}

// double to a half must round once: what a float32 would round to a tie is told from what lies beside it.
float narrowed(double x) {
  const float near = static_cast<float>(x);
  if (static_cast<double>(near) == x || near != near || std::isinf(near)) return near;
  const uint32_t bits = std::bit_cast<uint32_t>(near);
  if (bits & 1) return near;
  const bool above = std::fabs(x) > std::fabs(static_cast<double>(near));
  return std::bit_cast<float>(above ? bits + 1 : bits - 1);
}

void cast_to_half(const Tensor& x, const Tensor& out) {
  const auto narrow = out.dtype() == Dtype::float16 ? to_float16 : to_bfloat16;
  with_type(x.dtype(), [&](auto* source) {
    using From = std::remove_pointer_t<decltype(source)>;
    for (int64_t i = 0; i < x.size(); ++i) {
      const From value = x.as<From>()[i];
      if (x.dtype() == Dtype::boolean) out.as<uint16_t>()[i] = narrow(value != 0 ? 1.0f : 0.0f);
      else if constexpr (std::is_same_v<From, float>) out.as<uint16_t>()[i] = narrow(value);
      else out.as<uint16_t>()[i] = narrow(narrowed(static_cast<double>(value)));
    }
  });
}

}  // namespace

void execute_cast(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  if (inputs[0].dtype() == out.dtype() && out.dtype() != Dtype::boolean) return copy_elements(inputs[0], out);
  const Tensor given = contiguous(inputs[0]);
  const Tensor x = is_half(given.dtype()) ? widened(given) : given;
  if (is_half(out.dtype())) return cast_to_half(x, out);
  with_type(x.dtype(), [&](auto* source) {
    using From = std::remove_pointer_t<decltype(source)>;
    with_type(out.dtype(), [&](auto* target) {
      using To = std::remove_pointer_t<decltype(target)>;
      const From* from = x.as<From>();
      To* to = out.as<To>();
      const bool truth = out.dtype() == Dtype::boolean || x.dtype() == Dtype::boolean;
      in_pieces(x.size(), [&](int64_t at, int64_t count) {
        if (truth) {
          for (int64_t i = at; i < at + count; ++i) to[i] = static_cast<To>(from[i] != 0);
        } else {
          for (int64_t i = at; i < at + count; ++i) to[i] = saturated<To>(from[i]);
        }
      });
    });
  });
}

}  // namespace shoal
