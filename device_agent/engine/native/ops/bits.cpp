// Bits of integers, and remainders.
#include <cmath>
#include <type_traits>

#include "ops/op.h"

namespace shoal {

namespace {

// Calls f(a, b) for each pair of broadcast operands of type T.
template <typename T, typename F>
void map_numbers(Tensors inputs, const Tensor& out, F f) {
  const Tensor a = inputs[0].expanded(out.shape()), b = inputs[1].expanded(out.shape());
  walk_lines(merged(a, b, out.shape()), a.as<T>(), b.as<T>(), out.as<T>(),
            [f](const T* x, ptrdiff_t sx, const T* y, ptrdiff_t sy, T* to, size_t n) {
              for (size_t i = 0; i < n; ++i, x += sx, y += sy) to[i] = static_cast<T>(f(*x, *y));
            });
}

template <typename T>
T shifted(T x, T by, bool left) {
  constexpr T bits = sizeof(T) * 8;
  using Bits = std::make_unsigned_t<T>;
  if (by < 0 || by >= bits) return static_cast<T>(!left && x < 0 ? -1 : 0);
  return left ? static_cast<T>(static_cast<Bits>(x) << by) : static_cast<T>(x >> by);
}

// The sign is the divisor's (floor), or the dividend's (trunc).
template <typename T>
T remainder_of(T a, T b, bool floor) {
  if constexpr (std::is_floating_point_v<T>) {
    const T rest = std::fmod(a, b);
    if (!floor) return rest;
    if (rest == 0) return std::copysign(T{}, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
  } else {
    if (b == 0) throw ValueError("the remainder of an integer by zero");
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    const T rest = static_cast<T>(a % b);
    return floor && rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  }
}

}  // namespace

Spec infer_bits(const Op& op, Specs inputs) {
  const Dtype dtype = inputs[0].dtype;
  if (is_float(dtype) || is_half(dtype) || dtype == Dtype::boolean) refuse_dtype(op, dtype, "integers");
  return inputs.size() == 1 ? inputs[0] : infer_binary(op, inputs);
}

void execute_bits(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    if constexpr (std::is_integral_v<T>) {
      switch (op.id) {
        case OpId::bit_and: return map_numbers<T>(inputs, out, [](T a, T b) { return a & b; });
        case OpId::bit_or: return map_numbers<T>(inputs, out, [](T a, T b) { return a | b; });
        case OpId::bit_xor: return map_numbers<T>(inputs, out, [](T a, T b) { return a ^ b; });
        case OpId::shift_left: return map_numbers<T>(inputs, out, [](T a, T b) { return shifted(a, b, true); });
        default: return map_numbers<T>(inputs, out, [](T a, T b) { return shifted(a, b, false); });
      }
    }
  });
}

void execute_bit_not(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const auto* from = x.as<uint8_t>();
  for (int64_t i = 0; i < out.spec().bytes(); ++i) out.as<uint8_t>()[i] = static_cast<uint8_t>(~from[i]);
}

Spec infer_remainder(const Op& op, Specs inputs) { return infer_binary(op, inputs); }

void execute_remainder(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const bool floor = op.id == OpId::remainder;
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    map_numbers<T>(inputs, out, [floor](T a, T b) { return remainder_of(a, b, floor); });
  });
}

}  // namespace shoal
