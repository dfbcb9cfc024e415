// A row of a depthwise convolution over Simd<float, N>. Included by kernels/table.inl.h, once a level.
//
// Columns go R at once, so that each weight is loaded once for R results. Where neighbouring columns read neighbouring
// pixels (TAPS known, step 1), a pixel is loaded once for all taps.

namespace shoal {
namespace {

template <int N, int R>
inline void end_columns(Simd<float, N> (&acc)[R], const DepthwiseLine& d, ptrdiff_t first) {
  using F = Simd<float, N>;
  const F bias = F::load(d.bias);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
    acc[r] = acc[r] + bias;
    if (d.residual != nullptr) acc[r] = acc[r] + F::load(d.residual + (first + r) * d.residual_pixel);
    if (d.activation == Activation::clip) acc[r] = smaller(larger(acc[r], F::fill(d.low)), F::fill(d.high));
    acc[r].store(d.out + (first + r) * d.out_pixel);
  }
  if (d.activation > Activation::clip)
    for (int r = 0; r < R; ++r) {
      float* at = d.out + (first + r) * d.out_pixel;
      activate_line<N>(d.activation, at, at, N, d.low, d.high);
    }
}

template <int N, int R>
inline void columns_any(const DepthwiseLine& d, ptrdiff_t first) {
  using F = Simd<float, N>;
  F acc[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = F::fill(0.0f);
  const float* w = d.weights;
  for (size_t line = 0; line < d.lines; ++line) {
    const float* from = d.in + static_cast<ptrdiff_t>(line) * d.line + first * d.step;
    for (size_t tap = 0; tap < d.taps; ++tap, from += d.tap, w += N) {
      const F weight = F::load(w);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r] = acc[r] + F::load(from + r * d.step) * weight;
    }
  }
  end_columns<N, R>(acc, d, first);
}

template <int N, int R, int TAPS>
inline void columns_near(const DepthwiseLine& d, ptrdiff_t first) {
  using F = Simd<float, N>;
  F acc[R];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) acc[r] = F::fill(0.0f);
  const float* w = d.weights;
  const float* from = d.in + first * N;
  for (size_t line = 0; line < d.lines; ++line, from += d.line, w += TAPS * N) {
    F weight[TAPS];
#pragma GCC unroll 8
    for (int tap = 0; tap < TAPS; ++tap) weight[tap] = F::load(w + tap * N);
#pragma GCC unroll 16
    for (int i = 0; i < R + TAPS - 1; ++i) {
      const F x = F::load(from + i * N);
#pragma GCC unroll 8
      for (int tap = 0; tap < TAPS; ++tap)
        if (i - tap >= 0 && i - tap < R) acc[i - tap] = acc[i - tap] + x * weight[tap];
    }
  }
  end_columns<N, R>(acc, d, first);
}

template <int N>
void depthwise_line(const DepthwiseLine& d) {
  constexpr int R = REGISTERS >= 32 ? 14 : 7;
  const bool near = d.step == N && d.tap == N;
  const auto columns = static_cast<ptrdiff_t>(d.columns);
  ptrdiff_t first = 0;
  for (; first + R <= columns; first += R) {
    if (near && d.taps == 3) columns_near<N, R, 3>(d, first);
    else if (near && d.taps == 5) columns_near<N, R, 5>(d, first);
    else columns_any<N, R>(d, first);
  }
  for (; first + 4 <= columns; first += 4) columns_any<N, 4>(d, first);
  for (; first < columns; ++first) columns_any<N, 1>(d, first);
}

// Every second of 2 * N neighbouring floats, from the first on.
template <int N>
inline Simd<float, N> load_even(const float* from) {
  typename Simd<int32_t, N>::Vector picks;
  for (int i = 0; i < N; ++i) picks[i] = 2 * i;
  return {__builtin_shuffle(Simd<float, N>::load(from).v, Simd<float, N>::load(from + N).v, picks)};
}

// N results of a plain row: one vector a tap. Step 1 or 2.
template <int N, int STEP>
inline Simd<float, N> plain_columns(const DepthwiseLine& d, ptrdiff_t first) {
  using F = Simd<float, N>;
  F sums[2] = {F::fill(*d.bias), F::fill(0.0f)};  // two, so that one need not wait for the other
  const float* w = d.weights;
  for (size_t line = 0; line < d.lines; ++line) {
    const float* from = d.in + static_cast<ptrdiff_t>(line) * d.line + first * STEP;
    for (size_t tap = 0; tap < d.taps; ++tap, from += d.tap, ++w) {
      F& sum = sums[tap % 2];
      sum = sum + (STEP == 1 ? F::load(from) : load_even<N>(from)) * F::fill(*w);
    }
  }
  return sums[0] + sums[1];
}

inline float plain_column(const DepthwiseLine& d, ptrdiff_t x) {
  float sum = *d.bias;
  const float* w = d.weights;
  for (size_t line = 0; line < d.lines; ++line)
    for (size_t tap = 0; tap < d.taps; ++tap)
      sum += d.in[static_cast<ptrdiff_t>(line) * d.line + static_cast<ptrdiff_t>(tap) * d.tap + x * d.step] * *w++;
  return sum;
}

template <int N>
void depthwise_plain_line(const DepthwiseLine& d) {
  using F = Simd<float, N>;
  const auto columns = static_cast<ptrdiff_t>(d.columns);
  const bool vectors = d.step <= 2;
  for (ptrdiff_t x = 0; x < columns; x += vectors ? N : 1) {
    const size_t left = vectors ? less_of(N, static_cast<size_t>(columns - x)) : 1;
    F made = !vectors ? F::fill(plain_column(d, x)) : d.step == 1 ? plain_columns<N, 1>(d, x) : plain_columns<N, 2>(d, x);
    if (d.residual != nullptr)
      made = made + (left == N ? F::load(d.residual + x) : load_part<N>(d.residual + x, left));
    if (d.activation == Activation::clip) made = clamped(made, d.low, d.high);
    if (left == N) made.store(d.out + x);
    else store_part<N>(made, d.out + x, left);
  }
  if (d.activation > Activation::clip) activate_line<N>(d.activation, d.out, d.out, d.columns, d.low, d.high);
}

}  // namespace
}  // namespace shoal
