// Functions of a vector that end a matrix product or a convolution, or stand in a chain. Included by kernels/table.inl.h.
//
// Polynomials are least squares at Chebyshev nodes; errors given are those of the polynomial alone. Each function is within
// 5 ulp of the true value where that is not near zero by cancellation (tests/parity/test_kernels_functions.py).

namespace shoal {
namespace {

// P(x) by Horner's rule, the highest coefficient first.
template <int N, int D>
inline Simd<float, N> polynomial(Simd<float, N> x, const float (&coefficients)[D]) {
  using F = Simd<float, N>;
  F p = F::fill(coefficients[0]);
#pragma GCC unroll 16
  for (int i = 1; i < D; ++i) p = p * x + F::fill(coefficients[i]);
  return p;
}

template <int N>
inline Simd<float, N> size_of(Simd<float, N> x) {  // |x|; not-a-number stays so
  return Simd<float, N>::from_bits({x.bits().v & 0x7fffffff});
}

template <int N>
inline Simd<float, N> with_sign(Simd<float, N> size, Simd<float, N> sign) {
  const auto minus = sign.bits().v & static_cast<int32_t>(0x80000000);
  return Simd<float, N>::from_bits({size.bits().v | minus});
}

// erf: x P(x^2) / Q(x^2) (2.4e-8, with coefficients as they are rounded), 1 from where that is the nearest float on.
// Three parts of which two hang on each other: half the time of a power series near zero and exp(-Q(x)) far from it.
template <int N>
inline Simd<float, N> erf_of(Simd<float, N> x) {
  using F = Simd<float, N>;
  constexpr float up[] = {2.0500722258e-06f, 2.8488363023e-04f, 3.7656710483e-03f,
                          5.2748896182e-02f, 1.9040776789e-01f, 1.1283791065e+00f};
  constexpr float down[] = {3.8091613533e-05f, 1.1625479674e-03f, 1.4969327487e-02f,
                            1.1410965025e-01f, 5.0207722187e-01f, 1.0f};
  const F one = F::fill(1.0f), end = F::fill(3.92f);
  const F size = smaller(size_of(x), end), square = size * size;
  const F inside = smaller(size * polynomial(square, up) / polynomial(square, down), one);
  return with_sign(where_less(size, end, inside, one + (size - size)), x);  // not-a-number stays so
}

// log(1 + e) for 0 <= e <= 1: 2 atanh(e / (2 + e)) (1e-10).
template <int N>
inline Simd<float, N> log1p_small_of(Simd<float, N> e) {
  using F = Simd<float, N>;
  constexpr float p[] = {2.4271642526e-01f, 2.1434378097e-01f, 2.8616456249e-01f,
                         3.9998877918e-01f, 6.6666676198e-01f, 2.0f};
  const F s = e / (e + F::fill(2.0f));
  return s * polynomial(s * s, p);
}

template <int N>
inline Simd<float, N> softplus_of(Simd<float, N> x) {
  using F = Simd<float, N>;
  return larger(x, F::fill(0.0f)) + log1p_small_of(exp_of(-size_of(x)));
}

// tanh(softplus(x)) = ((1 + e^x)^2 - 1) / ((1 + e^x)^2 + 1), by e^x (2 + e^x) where that does not overflow.
template <int N>
inline Simd<float, N> mish_of(Simd<float, N> x) {
  using F = Simd<float, N>;
  const F e = exp_of(smaller(x, F::fill(20.0f)));
  const F up = e * (e + F::fill(2.0f));
  return x * (up / (up + F::fill(2.0f)));
}

template <int N>
inline Simd<float, N> clamped(Simd<float, N> x, float low, float high) {
  using F = Simd<float, N>;
  return smaller(larger(x, F::fill(low)), F::fill(high));
}

template <int N>
inline Simd<float, N> gelu_tanh_of(Simd<float, N> x) {
  using F = Simd<float, N>;
  const F inner = x * (x * x * F::fill(0.044715f) + F::fill(1.0f)) * F::fill(0.79788456080f);
  return x * F::fill(0.5f) * (F::fill(1.0f) + tanh_of(inner));
}

template <int N>
inline Simd<float, N> activated(Activation activation, Simd<float, N> x, float low, float high) {
  using F = Simd<float, N>;
  const F zero = F::fill(0.0f), one = F::fill(1.0f);
  switch (activation) {
    case Activation::none: return x;
    case Activation::clip: return clamped(x, low, high);
    case Activation::sigmoid: return sigmoid_of(x);
    case Activation::silu: return x * sigmoid_of(x);
    case Activation::tanh: return tanh_of(x);
    case Activation::gelu: return x * F::fill(0.5f) * (one + erf_of(x * F::fill(0.70710678119f)));
    case Activation::gelu_tanh: return gelu_tanh_of(x);
    case Activation::hard_swish: return x * clamped(x * F::fill(1.0f / 6.0f) + F::fill(0.5f), 0.0f, 1.0f);
    case Activation::hard_sigmoid: return clamped(x * F::fill(low) + F::fill(high), 0.0f, 1.0f);
    case Activation::leaky_relu: return where_less(x, zero, x * F::fill(low), x);
    case Activation::elu: return where_less(x, zero, F::fill(low) * (exp_of(x) - one), x);
    case Activation::softplus: return softplus_of(x);
    case Activation::mish: return mish_of(x);
    case Activation::erf: return erf_of(x);
    case Activation::exp: return exp_of(x);
  }
  return x;
}

// out[i] = activation(x[i]); the loop is inside of the choice.
template <int N, Activation A>
inline void activate_with(const float* x, float* out, size_t n, float low, float high) {
  map_unary<float, N>(x, out, n, [low, high](auto v) { return activated(A, v, low, high); });
}

template <int N>
__attribute__((noinline)) void activate_line(Activation activation, const float* x, float* out, size_t n, float low,
                                             float high) {
  switch (activation) {
    case Activation::none: return activate_with<N, Activation::none>(x, out, n, low, high);
    case Activation::clip: return activate_with<N, Activation::clip>(x, out, n, low, high);
    case Activation::sigmoid: return activate_with<N, Activation::sigmoid>(x, out, n, low, high);
    case Activation::silu: return activate_with<N, Activation::silu>(x, out, n, low, high);
    case Activation::tanh: return activate_with<N, Activation::tanh>(x, out, n, low, high);
    case Activation::gelu: return activate_with<N, Activation::gelu>(x, out, n, low, high);
    case Activation::gelu_tanh: return activate_with<N, Activation::gelu_tanh>(x, out, n, low, high);
    case Activation::hard_swish: return activate_with<N, Activation::hard_swish>(x, out, n, low, high);
    case Activation::hard_sigmoid: return activate_with<N, Activation::hard_sigmoid>(x, out, n, low, high);
    case Activation::leaky_relu: return activate_with<N, Activation::leaky_relu>(x, out, n, low, high);
    case Activation::elu: return activate_with<N, Activation::elu>(x, out, n, low, high);
    case Activation::softplus: return activate_with<N, Activation::softplus>(x, out, n, low, high);
    case Activation::mish: return activate_with<N, Activation::mish>(x, out, n, low, high);
    case Activation::erf: return activate_with<N, Activation::erf>(x, out, n, low, high);
    case Activation::exp: return activate_with<N, Activation::exp>(x, out, n, low, high);
  }
}

}  // namespace
}  // namespace shoal
