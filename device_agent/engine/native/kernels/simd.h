// Simd<T, N>: N lanes of T that add, compare and select like a T. Kernels are written once over it.
//
// Rules: N = 1 is the plain code that the wider ones are compared with. No standard-library templates here or in a
// kernel: this header is compiled with three sets of machine flags, and an inline function with external linkage that
// one of them compiled must never be the copy that the linker keeps for all.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal {
namespace {

template <typename T>
struct LaneBits;
template <>
struct LaneBits<float> { using type = int32_t; };
template <>
struct LaneBits<int32_t> { using type = int32_t; };
template <>
struct LaneBits<int64_t> { using type = int64_t; };
template <>
struct LaneBits<uint8_t> { using type = int8_t; };

template <typename T, int N>
struct Simd {
  typedef T Vector __attribute__((vector_size(sizeof(T) * N)));
  using Bits = typename LaneBits<T>::type;
  static constexpr int lanes = N;
  Vector v;

  static Simd load(const T* from) {
    Simd out;
    __builtin_memcpy(&out.v, from, sizeof(out.v));
    return out;
  }
  static Simd fill(T x) { return {x - Vector{}}; }  // minus zero keeps the sign of -0.0
  void store(T* to) const { __builtin_memcpy(to, &v, sizeof(v)); }
  T lane(int i) const { return v[i]; }
  Simd<Bits, N> bits() const { return {(typename Simd<Bits, N>::Vector)v}; }
  static Simd from_bits(Simd<Bits, N> b) { return {(Vector)b.v}; }

  friend Simd operator+(Simd a, Simd b) { return {a.v + b.v}; }
  friend Simd operator-(Simd a, Simd b) { return {a.v - b.v}; }
  friend Simd operator*(Simd a, Simd b) { return {a.v * b.v}; }
  friend Simd operator/(Simd a, Simd b) { return {a.v / b.v}; }
  friend Simd operator-(Simd a) { return {-a.v}; }
};

template <typename T>
struct Simd<T, 1> {
  using Bits = typename LaneBits<T>::type;
  static constexpr int lanes = 1;
  T v;

  static Simd load(const T* from) { return {*from}; }
  static Simd fill(T x) { return {x}; }
  void store(T* to) const { *to = v; }
  T lane(int) const { return v; }
  Simd<Bits, 1> bits() const {
    Simd<Bits, 1> out;
    __builtin_memcpy(&out.v, &v, sizeof(v));
    return out;
  }
  static Simd from_bits(Simd<Bits, 1> b) {
    Simd out;
    __builtin_memcpy(&out.v, &b.v, sizeof(b.v));
    return out;
  }

  friend Simd operator+(Simd a, Simd b) { return {static_cast<T>(a.v + b.v)}; }
  friend Simd operator-(Simd a, Simd b) { return {static_cast<T>(a.v - b.v)}; }
  friend Simd operator*(Simd a, Simd b) { return {static_cast<T>(a.v * b.v)}; }
  friend Simd operator/(Simd a, Simd b) { return {static_cast<T>(a.v / b.v)}; }
  friend Simd operator-(Simd a) { return {static_cast<T>(-a.v)}; }
};

// The larger and the smaller; where a lane of `a` is not a number, that lane stays so (numpy's rule needs both sides,
// so the kernels for maximum and minimum call it both ways round).
template <typename T, int N>
Simd<T, N> larger(Simd<T, N> a, Simd<T, N> b) { return {a.v < b.v ? b.v : a.v}; }
template <typename T, int N>
Simd<T, N> smaller(Simd<T, N> a, Simd<T, N> b) { return {a.v > b.v ? b.v : a.v}; }
// Lane by lane: a < b ? yes : no.
template <typename T, int N>
Simd<T, N> where_less(Simd<T, N> a, Simd<T, N> b, Simd<T, N> yes, Simd<T, N> no) {
  return {a.v < b.v ? yes.v : no.v};
}
// b where b is not a number, else a.
template <typename T, int N>
Simd<T, N> keep_nan(Simd<T, N> a, Simd<T, N> b) { return {b.v != b.v ? b.v : a.v}; }

// Each whole number as a float.
template <int N>
Simd<float, N> to_float(Simd<int32_t, N> x) { return {__builtin_convertvector(x.v, typename Simd<float, N>::Vector)}; }
inline Simd<float, 1> to_float(Simd<int32_t, 1> x) { return {static_cast<float>(x.v)}; }

}  // namespace
}  // namespace shoal
