// The steps of a chain over one run of floats. Included by kernels/table.inl.h, once a level.

namespace shoal {
namespace {

template <int N>
inline Simd<float, N> log_of(Simd<float, N> x) {
  // x = 2^e m, sqrt(1/2) <= m < sqrt(2): log m = 2 atanh((m - 1) / (m + 1)) (5e-12).
  using F = Simd<float, N>;
  using I = Simd<int32_t, N>;
  constexpr float p[] = {2.3585680447e-01f, 2.8536990372e-01f, 4.0000344886e-01f, 6.6666665533e-01f, 2.0f};
  const F tiny = F::fill(1.17549435e-38f), scale = F::fill(8388608.0f);  // denormal numbers are scaled by 2^23
  const F scaled = where_less(x, tiny, x * scale, x);
  const I bits = scaled.bits() - I::fill(0x3f3504f3);
  const F m = F::from_bits({(bits.v & 0x007fffff) + 0x3f3504f3});
  const F exponent = to_float(I{bits.v >> 23}) - where_less(x, tiny, F::fill(23.0f), F::fill(0.0f));
  const F s = (m - F::fill(1.0f)) / (m + F::fill(1.0f));
  const F made = s * polynomial(s * s, p) + exponent * F::fill(-2.12194440e-4f) + exponent * F::fill(0.693359375f);
  const F infinity = F::fill(__builtin_inff()), zero = F::fill(0.0f);
  const F from_zero = where_less(zero, x, made, where_less(x, zero, F::fill(__builtin_nanf("")), -infinity));
  return keep_nan(where_less(x, infinity, from_zero, x), x);
}

template <int N>
inline Simd<float, N> root_of(Simd<float, N> x) {
  float lanes[N];
  x.store(lanes);
  for (int i = 0; i < N; ++i) lanes[i] = __builtin_sqrtf(lanes[i]);  // the compiler makes one instruction of it
  return Simd<float, N>::load(lanes);
}

// x to the power of `quarters` quarters, by products and roots: 2 ulp from the true value.
template <int N>
inline Simd<float, N> power_of(Simd<float, N> x, int quarters) {
  using F = Simd<float, N>;
  F made = F::fill(1.0f);
  if (quarters % 4 != 0) {
    // Broken powers of minus infinity are infinite, and those of minus zero zero.
    x = where_less(x, F::fill(-__FLT_MAX__), F::fill(__builtin_inff()), x) + F::fill(0.0f);
    const F root = root_of(x);
    if (quarters & 2) made = root;
    if (quarters & 1) made = made * root_of(root);
  }
  for (int i = 0; i < quarters / 4; ++i) made = made * x;
  return made;
}

template <int N>
void chain_step(const ChainStep& step, const float* a, const float* b, float* to, size_t n) {
  const auto two = [&](auto f) { map_binary<float, N>(a, 1, b, 1, to, n, f); };
  const auto one = [&](auto f) { map_unary<float, N>(a, to, n, f); };
  switch (step.op) {
    case ChainOp::add: return two([](auto x, auto y) { return x + y; });
    case ChainOp::subtract: return two([](auto x, auto y) { return x - y; });
    case ChainOp::multiply: return two([](auto x, auto y) { return x * y; });
    case ChainOp::divide: return two([](auto x, auto y) { return x / y; });
    case ChainOp::maximum: return two([](auto x, auto y) { return keep_nan(larger(x, y), y); });
    case ChainOp::minimum: return two([](auto x, auto y) { return keep_nan(smaller(x, y), y); });
    case ChainOp::activate: return activate_line<N>(step.activation, a, to, n, step.low, step.high);
    case ChainOp::negative: return one([](auto x) { return -x; });
    case ChainOp::absolute: return one([](auto x) { return size_of(x); });
    case ChainOp::square: return one([](auto x) { return x * x; });
    case ChainOp::square_root: return one([](auto x) { return root_of(x); });
    case ChainOp::reciprocal: return one([](auto x) { return decltype(x)::fill(1.0f) / x; });
    case ChainOp::logarithm: return one([](auto x) { return log_of(x); });
    case ChainOp::power: return one([q = static_cast<int>(4 * step.low)](auto x) { return power_of(x, q); });
  }
}

}  // namespace
}  // namespace shoal
