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

}  // namespace
}  // namespace shoal
