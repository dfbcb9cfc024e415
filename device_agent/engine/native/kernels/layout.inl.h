// Transposes of lanes: the inner loops of changes of layout and of packing. Included by kernels/table.inl.h.

namespace shoal {
namespace {

// Rows and columns swapped in registers, by halves: N = 2^s steps of N shuffles each.
template <int N>
inline void transpose(Simd<float, N> (&rows)[N]) {
  using Picks = typename Simd<int32_t, N>::Vector;
#pragma GCC unroll 4
  for (int half = 1; half < N; half *= 2) {
    Picks low, high;
    for (int i = 0; i < N; ++i) {
      low[i] = i & half ? N + (i ^ half) : i;
      high[i] = i & half ? N + i : (i ^ half);
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) {
      if (i & half) continue;
      const auto a = rows[i].v, b = rows[i + half].v;
      rows[i].v = __builtin_shuffle(a, b, low);
      rows[i + half].v = __builtin_shuffle(a, b, high);
    }
  }
}

// out[x * out_pixel + c] = in[c * in_channel + x * in_pixel] for x < width, c < channels; zero for channels <= c < N.
template <int N>
void interleave(const float* in, ptrdiff_t in_channel, ptrdiff_t in_pixel, size_t channels, float* out,
                ptrdiff_t out_pixel, size_t width) {
  size_t x = 0;
  if (in_pixel == 1 && channels == N) {
    for (; x + N <= width; x += N) {
      Simd<float, N> rows[N];
#pragma GCC unroll 16
      for (int c = 0; c < N; ++c) rows[c] = Simd<float, N>::load(in + c * in_channel + x);
      transpose<N>(rows);
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) rows[i].store(out + static_cast<ptrdiff_t>(x + i) * out_pixel);
    }
  }
  for (; x < width; ++x) {
    const auto at = static_cast<ptrdiff_t>(x);
    for (size_t c = 0; c < channels; ++c)
      out[at * out_pixel + static_cast<ptrdiff_t>(c)] = in[static_cast<ptrdiff_t>(c) * in_channel + at * in_pixel];
    for (size_t c = channels; c < N; ++c) out[at * out_pixel + static_cast<ptrdiff_t>(c)] = 0.0f;
  }
}

// The way back: out[c * out_channel + x * out_pixel] = in[x * in_pixel + c] for c < channels.
template <int N>
void deinterleave(const float* in, ptrdiff_t in_pixel, size_t width, float* out, ptrdiff_t out_channel,
                  ptrdiff_t out_pixel, size_t channels) {
  size_t x = 0;
  if (out_pixel == 1 && channels == N) {
    for (; x + N <= width; x += N) {
      Simd<float, N> rows[N];
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) rows[i] = Simd<float, N>::load(in + static_cast<ptrdiff_t>(x + i) * in_pixel);
      transpose<N>(rows);
#pragma GCC unroll 16
      for (int c = 0; c < N; ++c) rows[c].store(out + c * out_channel + x);
    }
  }
  for (; x < width; ++x)
    for (size_t c = 0; c < channels; ++c)
      out[static_cast<ptrdiff_t>(c) * out_channel + static_cast<ptrdiff_t>(x) * out_pixel] =
          in[static_cast<ptrdiff_t>(x) * in_pixel + static_cast<ptrdiff_t>(c)];
}

}  // namespace
}  // namespace shoal
