// Normalisation of a row, and pooling of a row of pixels. Included by kernels/table.inl.h, once a level.

namespace shoal {
namespace {

// Sums of x and of its squared distances from the mean: two passes, since the one-pass form cancels.
template <int N>
void normalize_row(const NormRow& r) {
  using F = Simd<float, N>;
  const float* x = r.x;
  if (r.residual != nullptr) {
    map_binary<float, N>(r.x, 1, r.residual, 1, r.sum, r.n, [](auto a, auto b) { return a + b; });
    x = r.sum;
  }
  const auto n = static_cast<float>(r.n);
  const float mean = reduce<float, N>(Reduce::sum, x, r.n) / n;
  F squares[2] = {F::fill(0.0f), F::fill(0.0f)};
  size_t i = 0;
  for (; i + 2 * N <= r.n; i += 2 * N)
    for (int part = 0; part < 2; ++part) {
      const F distance = F::load(x + i + static_cast<size_t>(part) * N) - F::fill(mean);
      squares[part] = squares[part] + distance * distance;
    }
  float variance = 0;
  for (int lane = 0; lane < N; ++lane) variance += (squares[0] + squares[1]).lane(lane);
  for (; i < r.n; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / __builtin_sqrtf(variance / n + r.epsilon);
  const auto finish = [&](auto lanes, size_t at) {
    using V = decltype(lanes);
    V made = (V::load(x + at) - V::fill(mean)) * V::fill(scale);
    if (r.scale != nullptr) made = made * V::load(r.scale + at);
    if (r.shift != nullptr) made = made + V::load(r.shift + at);
    made.store(r.out + at);
  };
  for (i = 0; i + N <= r.n; i += N) finish(F{}, i);
  for (; i < r.n; ++i) finish(Simd<float, 1>{}, i);
}

template <int N, bool Maximum>
inline Simd<float, N> pooled(Simd<float, N> made, Simd<float, N> value) {
  return Maximum ? keep_nan(larger(made, value), value) : made + value;
}

// One row of windows over vectors of N channels (1: a plain picture), `lines` of them from `in` on.
template <int N, bool Maximum>
inline void pool_columns(const PoolRow& p, const float* in, ptrdiff_t lines) {
  using F = Simd<float, N>;
  for (ptrdiff_t x = 0; x < p.columns; ++x) {
    const ptrdiff_t first = x * p.stride - p.pad_left;
    ptrdiff_t tap = 0, end = p.taps;
    if (first < 0) tap = (-first + p.dilation - 1) / p.dilation;
    if (first + (p.taps - 1) * p.dilation >= p.width) end = (p.width - first + p.dilation - 1) / p.dilation;
    F made = F::fill(Maximum ? -__builtin_inff() : 0.0f);
    for (ptrdiff_t line = 0; line < lines; ++line)
      for (ptrdiff_t t = tap; t < end; ++t)
        made = pooled<N, Maximum>(made, F::load(in + line * p.line + (first + t * p.dilation) * p.pixel));
    if constexpr (!Maximum) {
      const ptrdiff_t padded_end = first + p.taps * p.dilation > p.width + p.pad_right
                                       ? (p.width + p.pad_right - first + p.dilation - 1) / p.dilation
                                       : p.taps;
      const ptrdiff_t counted = p.count_pads ? padded_end * p.lines_counted : (end > tap ? end - tap : 0) * p.lines;
      made = made * F::fill(counted > 0 ? 1.0f / static_cast<float>(counted) : 0.0f);
    }
    made.store(p.out + x * p.out_pixel);
  }
}

constexpr ptrdiff_t pooled_width_max = 1024;

// A row of windows of a plain picture: lines are pooled first, vector by vector, then what stands beside each other.
template <int N, bool Maximum>
inline void pool_plain(const PoolRow& p) {
  if (p.pixel != 1 || p.width > pooled_width_max || p.lines < 2) return pool_columns<1, Maximum>(p, p.in, p.lines);
  float made[pooled_width_max];
  const auto down = [&](auto lanes, ptrdiff_t x) {
    using V = decltype(lanes);
    V sum = V::load(p.in + x);
    for (ptrdiff_t line = 1; line < p.lines; ++line) sum = pooled<V::lanes, Maximum>(sum, V::load(p.in + line * p.line + x));
    sum.store(made + x);
  };
  ptrdiff_t x = 0;
  for (; x + N <= p.width; x += N) down(Simd<float, N>{}, x);
  for (; x < p.width; ++x) down(Simd<float, 1>{}, x);
  pool_columns<1, Maximum>(p, made, 1);
}

template <int N>
void pool_row(const PoolRow& p) {
  if (p.blocked) return p.maximum ? pool_columns<N, true>(p, p.in, p.lines) : pool_columns<N, false>(p, p.in, p.lines);
  return p.maximum ? pool_plain<N, true>(p) : pool_plain<N, false>(p);
}

}  // namespace
}  // namespace shoal
