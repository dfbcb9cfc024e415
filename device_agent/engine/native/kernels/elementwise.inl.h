// Elementwise, reduction and softmax kernels over Simd<T, N>. Included by kernels/table.inl.h, once a level.

namespace shoal {
namespace {

// The vector at `from`, of which `n` floats exist.
template <int N>
inline Simd<float, N> load_part(const float* from, size_t n) {
  float whole[N] = {};
  for (size_t i = 0; i < n; ++i) whole[i] = from[i];
  return Simd<float, N>::load(whole);
}

template <int N>
inline void store_part(Simd<float, N> x, float* to, size_t n) {
  float whole[N];
  x.store(whole);
  for (size_t i = 0; i < n; ++i) to[i] = whole[i];
}

template <typename T, int N, typename F>
inline void map_binary(const T* a, ptrdiff_t sa, const T* b, ptrdiff_t sb, T* out, size_t n, F f) {
  using V = Simd<T, N>;
  using S = Simd<T, 1>;
  size_t i = 0;
  if (sa == 1 && sb == 1) {
    for (; i + N <= n; i += N) f(V::load(a + i), V::load(b + i)).store(out + i);
  } else if (sa == 1 && sb == 0) {
    for (const V y = V::fill(n ? *b : T{}); i + N <= n; i += N) f(V::load(a + i), y).store(out + i);
  } else if (sa == 0 && sb == 1) {
    for (const V x = V::fill(n ? *a : T{}); i + N <= n; i += N) f(x, V::load(b + i)).store(out + i);
  }
  for (; i < n; ++i) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(i);
    f(S{a[at * sa]}, S{b[at * sb]}).store(out + i);
  }
}

template <typename T, int N>
void binary(Binary op, const T* a, ptrdiff_t sa, const T* b, ptrdiff_t sb, T* out, size_t n) {
  switch (op) {
    case Binary::add: return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return x + y; });
    case Binary::subtract: return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return x - y; });
    case Binary::multiply: return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return x * y; });
    case Binary::divide:
      if constexpr (static_cast<T>(0.5) != 0)  // a floating type: integers are divided by the caller, who can refuse 0
        return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return x / y; });
      return;
    case Binary::maximum:
      return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return keep_nan(larger(x, y), y); });
    case Binary::minimum:
      return map_binary<T, N>(a, sa, b, sb, out, n, [](auto x, auto y) { return keep_nan(smaller(x, y), y); });
  }
}

// exp by x = k ln2 + r, |r| <= ln2 / 2, a polynomial for exp(r), and 2^k in two factors so that the ends neither
// overflow nor flush early. Within 2 ulp of the true value; not-a-number stays so.
template <int N>
inline Simd<float, N> exp_of(Simd<float, N> x) {
  using V = Simd<float, N>;
  using I = Simd<int32_t, N>;
  const V round = V::fill(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  V clamped = where_less(x, V::fill(-105.0f), V::fill(-105.0f), x);
  clamped = where_less(V::fill(90.0f), clamped, V::fill(90.0f), clamped);
  const V shifted = clamped * V::fill(1.44269504088896341f) + round;
  const V whole = shifted - round;
  const V r = (clamped - whole * V::fill(0.693359375f)) - whole * V::fill(-2.12194440e-4f);
  V p = V::fill(1.9875691500e-4f);
  p = p * r + V::fill(1.3981999507e-3f);
  p = p * r + V::fill(8.3334519073e-3f);
  p = p * r + V::fill(4.1665795894e-2f);
  p = p * r + V::fill(1.6666665459e-1f);
  p = p * r + V::fill(5.0000001201e-1f);
  p = (p * r) * r + r + V::fill(1.0f);
  const I k = shifted.bits() - round.bits();
  const I half = {k.v >> 1};
  const I first = {(half + I::fill(127)).v << 23};
  const I second = {((k - half) + I::fill(127)).v << 23};
  return (p * V::from_bits(first)) * V::from_bits(second);
}

template <int N>
inline Simd<float, N> sigmoid_of(Simd<float, N> x) {
  const auto one = Simd<float, N>::fill(1.0f);
  return one / (one + exp_of(-x));
}

// tanh: an odd polynomial near zero, where 1 - 2 / (exp(2x) + 1) would cancel.
template <int N>
inline Simd<float, N> tanh_of(Simd<float, N> x) {
  using V = Simd<float, N>;
  const V one = V::fill(1.0f);
  const V zero = V::fill(0.0f);
  const V size = where_less(x, zero, -x, x);
  const V far = one - V::fill(2.0f) / (exp_of(size + size) + one);
  const V s = x * x;
  V p = V::fill(-5.70498872745e-3f);
  p = p * s + V::fill(2.06390887954e-2f);
  p = p * s + V::fill(-5.37397155531e-2f);
  p = p * s + V::fill(1.33314422036e-1f);
  p = p * s + V::fill(-3.33332819422e-1f);
  const V near = (p * s) * x + x;
  return where_less(size, V::fill(0.625f), near, where_less(x, zero, -far, far));
}

template <typename T, int N, typename F>
inline void map_unary(const T* x, T* out, size_t n, F f) {
  size_t i = 0;
  for (; i + N <= n; i += N) f(Simd<T, N>::load(x + i)).store(out + i);
  if constexpr (N > 1 && __is_same(T, float)) {  // a long function stands here once
    if (i < n) store_part<N>(f(load_part<N>(x + i, n - i)), out + i, n - i);
  } else {
    for (; i < n; ++i) f(Simd<T, 1>{x[i]}).store(out + i);
  }
}

// What integers and floats share; clip keeps not-a-number.
template <typename T, int N>
bool unary_any(Unary op, const T* x, T* out, size_t n, T low, T high) {
  switch (op) {
    case Unary::relu:
      map_unary<T, N>(x, out, n, [](auto v) { return larger(v, decltype(v)::fill(T{})); });
      return true;
    case Unary::negative: map_unary<T, N>(x, out, n, [](auto v) { return -v; }); return true;
    case Unary::clip:
      map_unary<T, N>(x, out, n, [low, high](auto v) {
        using V = decltype(v);
        return smaller(larger(v, V::fill(low)), V::fill(high));
      });
      return true;
    default: return false;
  }
}

template <typename T, int N>
void unary_integer(Unary op, const T* x, T* out, size_t n, T low, T high) {
  unary_any<T, N>(op, x, out, n, low, high);
}

template <int N>
void unary_f32(Unary op, const float* x, float* out, size_t n, float low, float high) {
  if (unary_any<float, N>(op, x, out, n, low, high)) return;
  switch (op) {
    case Unary::sigmoid: return map_unary<float, N>(x, out, n, [](auto v) { return sigmoid_of(v); });
    case Unary::tanh: return map_unary<float, N>(x, out, n, [](auto v) { return tanh_of(v); });
    case Unary::exp: return map_unary<float, N>(x, out, n, [](auto v) { return exp_of(v); });
    case Unary::sqrt:
      for (size_t i = 0; i < n; ++i) out[i] = __builtin_sqrtf(x[i]);  // the compiler vectorises this one
      return;
    default: return;
  }
}

template <typename T, int N, typename F>
inline T fold(const T* x, size_t n, T start, F f) {
  using V = Simd<T, N>;
  T total = start;
  size_t i = 0;
  if (n >= 4 * N) {  // four running folds hide the latency of one
    V a = V::load(x), b = V::load(x + N), c = V::load(x + 2 * N), d = V::load(x + 3 * N);
    for (i = 4 * N; i + 4 * N <= n; i += 4 * N) {
      a = f(a, V::load(x + i));
      b = f(b, V::load(x + i + N));
      c = f(c, V::load(x + i + 2 * N));
      d = f(d, V::load(x + i + 3 * N));
    }
    const V all = f(f(a, b), f(c, d));
    for (int lane = 0; lane < N; ++lane) total = f(Simd<T, 1>{total}, Simd<T, 1>{all.lane(lane)}).v;
  }
  for (; i < n; ++i) total = f(Simd<T, 1>{total}, Simd<T, 1>{x[i]}).v;
  return total;
}

// n >= 1 for maximum and minimum.
template <typename T, int N>
T reduce(Reduce op, const T* x, size_t n) {
  switch (op) {
    case Reduce::sum: return fold<T, N>(x, n, T{}, [](auto a, auto b) { return a + b; });
    case Reduce::maximum:
      return fold<T, N>(x, n, x[0], [](auto a, auto b) { return keep_nan(larger(a, b), b); });
    case Reduce::minimum:
      return fold<T, N>(x, n, x[0], [](auto a, auto b) { return keep_nan(smaller(a, b), b); });
  }
  return T{};
}

template <int N>
void softmax_row(const float* x, float* out, size_t n) {
  if (n == 0) return;
  const float top = reduce<float, N>(Reduce::maximum, x, n);
  map_unary<float, N>(x, out, n, [top](auto v) { return exp_of(v - decltype(v)::fill(top)); });
  const float scale = 1.0f / reduce<float, N>(Reduce::sum, out, n);
  map_unary<float, N>(out, out, n, [scale](auto v) { return v * decltype(v)::fill(scale); });
}

}  // namespace
}  // namespace shoal
