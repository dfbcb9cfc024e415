// The 8-bit tile over N columns a vector, one level's `dot_quads` inside. Included by kernels/table.inl.h, and once more
// where a machine multiplies bytes by itself (kernels/avx512vnni.cpp).

namespace shoal {
namespace {

template <int N>
using Whole = Simd<int32_t, N>;

// N columns' sums over quads of k, as a level makes them: `Columns` of B are read once for all rows, `add` multiplies them
// with four bytes of A. At most `rows` by `vectors` of them fit the registers beside what they need.
#if defined(__AVX512VNNI__)
struct QuadSums {
  static constexpr int rows = tile_rows_limit, vectors = tile_vectors_max;
  using Columns = __m512i;
  __m512i sums = _mm512_setzero_si512();

  static Columns columns(const int8_t* b) { return _mm512_loadu_si512(b); }
  void add(int32_t a, Columns b) { sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi32(a), b); }
  Whole<16> total() const { return {(Whole<16>::Vector)sums}; }
};
#elif defined(__AVX512BW__)
// Even and odd bytes of A apart: a pair's sum then has one product in it and 16 bits hold it.
struct QuadSums {
  static constexpr int rows = tile_rows_limit, vectors = tile_vectors_max;
  using Columns = __m512i;
  __m512i sums = _mm512_setzero_si512();

  static Columns columns(const int8_t* b) { return _mm512_loadu_si512(b); }
  void add(int32_t a, Columns b) {
    const __m512i ones = _mm512_set1_epi16(1);
    const __m512i even = _mm512_maddubs_epi16(_mm512_set1_epi32(a & 0x00ff00ff), b);
    const __m512i odd = _mm512_maddubs_epi16(_mm512_set1_epi32(a & static_cast<int32_t>(0xff00ff00)), b);
    sums = _mm512_add_epi32(sums, _mm512_add_epi32(_mm512_madd_epi16(even, ones), _mm512_madd_epi16(odd, ones)));
  }
  Whole<16> total() const { return {(Whole<16>::Vector)sums}; }
};
#elif defined(__AVX2__)
// Bytes widened to 16 bits, of which pairs are multiplied and summed: half a quad a lane, four columns a vector.
struct QuadSums {
  static constexpr int rows = 5, vectors = 1;
  struct Columns {
    __m256i first, last;
  };
  __m256i first = _mm256_setzero_si256(), last = _mm256_setzero_si256();

  static Columns columns(const int8_t* b) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(b))),
            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i_u*>(b + 16)))};
  }
  void add(int32_t a, Columns b) {
    const __m256i quads = _mm256_unpacklo_epi8(_mm256_set1_epi32(a), _mm256_setzero_si256());
    first = _mm256_add_epi32(first, _mm256_madd_epi16(quads, b.first));
    last = _mm256_add_epi32(last, _mm256_madd_epi16(quads, b.last));
  }
  Whole<8> total() const {
    const __m256i halves = _mm256_hadd_epi32(first, last);  // columns 0, 1, 4, 5, 2, 3, 6, 7
    return {(Whole<8>::Vector)_mm256_permute4x64_epi64(halves, 0b11011000)};
  }
};
#else
struct QuadSums {
  static constexpr int rows = tile_rows_limit, vectors = tile_vectors_max;
  using Columns = Whole<BLOCK>;
  Whole<BLOCK> sums = Whole<BLOCK>::fill(0);

  static Columns columns(const int8_t* b) {
    Columns made;
    __builtin_memcpy(&made.v, b, sizeof(made.v));
    return made;
  }
  void add(int32_t a, Columns b) {
#pragma GCC unroll 4
    for (int byte = 0; byte < 4; ++byte)
      sums = sums + Whole<BLOCK>{(b.v << (24 - 8 * byte)) >> 24} * Whole<BLOCK>::fill(a >> (8 * byte) & 0xff);
  }
  Whole<BLOCK> total() const { return sums; }
};
#endif

// The sums of one row and vector as floats: scaled, with bias, residual and clip; the last vector may be a part.
template <int N>
inline void end_int8(Whole<N> sums, const TileInt8& t, int row, int v) {
  using F = Simd<float, N>;
  const size_t before = static_cast<size_t>(v) * N;
  if (t.width <= before) return;
  const size_t left = t.width - before;
  const Whole<N> shift = Whole<N>::load(t.b_sums + before) * Whole<N>::fill(128);
  F made = to_float(sums - shift) * F::fill(t.a_scales[row]) * F::load(t.b_scales + before);
  made = made + F::load(t.bias + before);
  if (t.residual != nullptr) {
    const float* from = t.residual + row * t.residual_row + v * t.residual_block;
    made = made + (left >= N ? F::load(from) : load_part<N>(from, left));
  }
  if (t.activation == Activation::clip) made = clamped(made, t.low, t.high);
  float* to = t.c + row * t.c_row + v * t.c_block;
  if (left >= N) made.store(to);
  else store_part<N>(made, to, left);
}

// R rows and V vectors of a tile, from a row and a vector on; its panel has `of` vectors.
template <int N, int V, int R>
void tile_int8_in_registers(const TileInt8& t, int first_row, int first, int of) {
  QuadSums sums[R][V];
  constexpr int groups = (R + 3) / 4;
  const ptrdiff_t row = t.a_row, row3 = 3 * row, step = static_cast<ptrdiff_t>(of) * N * 4, ahead = STEPS_AHEAD * step;
  const int8_t* b = t.b + static_cast<ptrdiff_t>(first) * N * 4;
  const uint8_t* of_line = t.a + first_row * row;
  for (size_t line = 0; line < t.lines; ++line, of_line += t.line) {
    const uint8_t* group[groups];
#pragma GCC unroll 4
    for (int g = 0; g < groups; ++g) group[g] = of_line + 4 * g * row;
    for (size_t quad = 0; quad < t.quads; ++quad) {
      QuadSums::Columns columns[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        columns[v] = QuadSums::columns(b + v * N * 4);
        __builtin_prefetch(b + ahead + v * N * 4);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const int at = r % 4;
        int32_t bytes;
        __builtin_memcpy(&bytes, group[r / 4] + (at == 0 ? 0 : at == 1 ? row : at == 2 ? 2 * row : row3), 4);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sums[r][v].add(bytes, columns[v]);
      }
#pragma GCC unroll 4
      for (int g = 0; g < groups; ++g) {
        group[g] += 4;
        asm("" : "+r"(group[g]));
      }
      b += step;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) end_int8<N>(sums[r][v].total(), t, first_row + r, first + v);
}

// R rows from one on, by halves until they fit the registers.
template <int N, int V, int R>
inline void tile_int8_rows(const TileInt8& t, int first) {
  if constexpr (R > QuadSums::rows) {
    tile_int8_rows<N, V, (R + 1) / 2>(t, first);
    tile_int8_rows<N, V, R / 2>(t, first + (R + 1) / 2);
  } else {
    constexpr int beside = V < QuadSums::vectors ? V : QuadSums::vectors;
    static_assert(V % beside == 0);
    for (int v = 0; v < V; v += beside) tile_int8_in_registers<N, beside, R>(t, first, v, V);
  }
}

template <int N, int V, int R>
inline void tile_int8_of(int rows, const TileInt8& t) {
  if (rows == R) return tile_int8_rows<N, V, R>(t, 0);
  if constexpr (R > 1) tile_int8_of<N, V, R - 1>(rows, t);
}

template <int N>
void tile_int8(int vectors, int rows, const TileInt8& t) {
  switch (vectors) {
    case 1: tile_int8_of<N, 1, rows_max<1>>(rows, t); break;
    case 2: tile_int8_of<N, 2, rows_max<2>>(rows, t); break;
    case 3: tile_int8_of<N, 3, rows_max<3>>(rows, t); break;
    default: tile_int8_of<N, 4, rows_max<4>>(rows, t); break;
  }
  if (t.activation <= Activation::clip) return;
  for (int v = 0; v < vectors && t.width > static_cast<size_t>(v * N); ++v)
    for (int r = 0; r < rows; ++r) {
      float* at = t.c + r * t.c_row + v * t.c_block;
      activate_line<N>(t.activation, at, at, less_of(N, t.width - static_cast<size_t>(v * N)), t.low, t.high);
    }
}

template <int N>
struct SmallBytes {
  typedef uint8_t Vector __attribute__((vector_size(N)));
};

// round(x * scale) + 128 of N numbers that are at most 127 then.
template <int N>
inline typename SmallBytes<N>::Vector bytes_of(Simd<float, N> x, float scale) {
  const float round = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, kept in the low bits
  const auto bits = (x * Simd<float, N>::fill(scale) + Simd<float, N>::fill(round)).bits();
  return __builtin_convertvector(bits.v - 0x4b400000 + 128, typename SmallBytes<N>::Vector);
}

template <int N>
inline float top_of(Simd<float, N> most) {
  float top = 0;
  for (int lane = 0; lane < N; ++lane) top = most.lane(lane) > top ? most.lane(lane) : top;
  return top;
}

template <int N>
float largest_of_pixels(const PixelRow& row) {
  using F = Simd<float, N>;
  F most = F::fill(0.0f);
  for (size_t x = 0; x < row.width; ++x) {
    const float* from = row.in + x * N;
    most = larger(most, size_of(row.channels == N ? F::load(from) : load_part<N>(from, row.channels)));
  }
  return top_of(most);
}

template <int N>
void quantize_pixels(const PixelRow& row, float scale, uint8_t* out, ptrdiff_t step) {
  using F = Simd<float, N>;
  const size_t written = (row.channels + 3) / 4 * 4;
  for (size_t x = 0; x < row.width; ++x, out += step) {
    const float* from = row.in + x * N;
    const auto bytes = bytes_of(row.channels == N ? F::load(from) : load_part<N>(from, row.channels), scale);
    if (row.channels == N) __builtin_memcpy(out, &bytes, N);
    else __builtin_memcpy(out, &bytes, written);
  }
}

template <int N>
float quantize_row(const float* x, size_t n, uint8_t* out) {
  using F = Simd<float, N>;
  F most = F::fill(0.0f);
  size_t i = 0;
  for (; i + N <= n; i += N) most = larger(most, size_of(F::load(x + i)));
  float top = top_of(most);
  for (; i < n; ++i) top = __builtin_fabsf(x[i]) > top ? __builtin_fabsf(x[i]) : top;
  const float scale = top > 0 ? 127.0f / top : 0.0f;
  for (i = 0; i + N <= n; i += N) {
    const auto bytes = bytes_of(F::load(x + i), scale);
    __builtin_memcpy(out + i, &bytes, N);
  }
  for (; i < n; ++i) out[i] = static_cast<uint8_t>(static_cast<int>(x[i] * scale + 128.5f));
  return top / 127.0f;
}

}  // namespace
}  // namespace shoal
