// A few rows by a matrix of 16-bit floats. Included by kernels/table.inl.h, once a level.

namespace shoal {
namespace {

// By the machine's own instruction where it has one.
template <int N>
inline bool widened_by_machine([[maybe_unused]] const uint16_t* from, [[maybe_unused]] Simd<float, N>& to) {
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    __m256i halves;
    __builtin_memcpy(&halves, from, sizeof(halves));
    to.v = (typename Simd<float, N>::Vector)_mm512_cvtph_ps(halves);
    return true;
  }
#elif defined(__F16C__)
  if constexpr (N == 8) {
    __m128i halves;
    __builtin_memcpy(&halves, from, sizeof(halves));
    to.v = (typename Simd<float, N>::Vector)_mm256_cvtph_ps(halves);
    return true;
  }
#endif
  return false;
}

template <int N, bool Brain>
inline Simd<float, N> widened(const uint16_t* from) {
  if constexpr (!Brain)
    if (Simd<float, N> made; widened_by_machine<N>(from, made)) return made;
  typedef uint16_t Halves __attribute__((vector_size(2 * N)));
  using I = typename Simd<int32_t, N>::Vector;
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof(halves));
  const I bits = __builtin_convertvector(halves, I);
  if constexpr (Brain) return Simd<float, N>::from_bits({bits << 16});
  const I sign = (bits & 0x8000) << 16, size = (bits & 0x7fff) << 13, exponent = bits & 0x7c00;
  // Exponents are 112 apart; of infinities and of what is no number 224; subnormals lack their leading one.
  const I normal = size + (exponent == 0x7c00 ? I{} + (224 << 23) : I{} + (112 << 23));
  const Simd<float, N> least = Simd<float, N>::from_bits({normal + (1 << 23)}) - Simd<float, N>::fill(0x1p-14f);
  const I whole = exponent == 0 ? least.bits().v : normal;
  return Simd<float, N>::from_bits({whole | sign});
}

constexpr ptrdiff_t rows_ahead = 16;  // rows are far apart, and no machine foresees the next

template <int N, int M, int V, bool Brain>
inline void half_columns(const HalfRows& r, size_t first) {
  using F = Simd<float, N>;
  F acc[M][V];
  for (int i = 0; i < M; ++i)
    for (int v = 0; v < V; ++v) acc[i][v] = F::load(r.c + i * r.c_row + first + static_cast<size_t>(v * N));
  const uint16_t* b = r.b + first;
  for (size_t p = 0; p < r.k; ++p, b += r.b_row) {
    F line[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      line[v] = widened<N, Brain>(b + v * N);
      __builtin_prefetch(b + rows_ahead * r.b_row + v * N);
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) {
      const F x = F::fill(r.a[i * r.a_row + static_cast<ptrdiff_t>(p)]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[i][v] = acc[i][v] + x * line[v];
    }
  }
  for (int i = 0; i < M; ++i)
    for (int v = 0; v < V; ++v) acc[i][v].store(r.c + i * r.c_row + first + static_cast<size_t>(v * N));
}

template <bool Brain>
inline float one_widened(uint16_t half) {
  uint16_t room[4] = {half, 0, 0, 0};
  return widened<4, Brain>(room).lane(0);
}

// Columns that no vector holds.
template <bool Brain>
inline void half_rest(const HalfRows& r, size_t first) {
  for (size_t i = 0; i < r.m; ++i)
    for (size_t j = first; j < r.n; ++j) {
      const auto row = static_cast<ptrdiff_t>(i), column = static_cast<ptrdiff_t>(j);
      float sum = r.c[row * r.c_row + column];
      for (size_t p = 0; p < r.k; ++p) {
        const auto at = static_cast<ptrdiff_t>(p);
        sum += r.a[row * r.a_row + at] * one_widened<Brain>(r.b[at * r.b_row + column * r.b_column]);
      }
      r.c[row * r.c_row + column] = sum;
    }
}

// One result of each row: a column that lies in line.
template <int N, int M, bool Brain>
inline void half_dots(const HalfRows& r, size_t column) {
  using F = Simd<float, N>;
  const uint16_t* b = r.b + static_cast<ptrdiff_t>(column) * r.b_column;
  F acc[M][2];
  for (auto& row : acc) row[0] = row[1] = F::fill(0.0f);
  size_t p = 0;
  for (; p + 2 * N <= r.k; p += 2 * N)
    for (int half = 0; half < 2; ++half) {
      const F line = widened<N, Brain>(b + p + static_cast<size_t>(half * N));
      for (int i = 0; i < M; ++i)
        acc[i][half] = acc[i][half] + F::load(r.a + i * r.a_row + p + static_cast<size_t>(half * N)) * line;
    }
  for (int i = 0; i < M; ++i) {
    const F both = acc[i][0] + acc[i][1];
    float sum = 0;
    for (int lane = 0; lane < N; ++lane) sum += both.lane(lane);
    for (size_t q = p; q < r.k; ++q) sum += r.a[i * r.a_row + static_cast<ptrdiff_t>(q)] * one_widened<Brain>(b[q]);
    r.c[i * r.c_row + static_cast<ptrdiff_t>(column)] += sum;
  }
}

template <int N, int M, bool Brain>
inline void half_rows_of(const HalfRows& r) {
  constexpr int V = 8 / M;
  size_t j = 0;
  if (r.b_column == 1) {
    for (; j + V * N <= r.n; j += V * N) half_columns<N, M, V, Brain>(r, j);
    for (; j + N <= r.n; j += N) half_columns<N, M, 1, Brain>(r, j);
    half_rest<Brain>(r, j);
  } else {
    for (; j < r.n; ++j) half_dots<N, M, Brain>(r, j);
  }
}

template <int N>
void half_rows(const HalfRows& r) {
  switch (r.m) {
    case 1: return r.brain ? half_rows_of<N, 1, true>(r) : half_rows_of<N, 1, false>(r);
    case 2: return r.brain ? half_rows_of<N, 2, true>(r) : half_rows_of<N, 2, false>(r);
    default: return r.brain ? half_rows_of<N, 3, true>(r) : half_rows_of<N, 3, false>(r);
  }
}

}  // namespace
}  // namespace shoal
