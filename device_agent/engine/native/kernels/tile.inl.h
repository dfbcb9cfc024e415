// The register tile of kernels/tile.h over Simd<float, N>. Included by kernels/table.inl.h, once a level.
//
// Rows are addressed through one pointer for every four of them and two steps, all opaque to the compiler: with a
// pointer a row it ran out of registers at 13 rows and lost two thirds of its speed (61 instead of 175 Gflop/s).

namespace shoal {
namespace {

constexpr int line_floats = 16;  // of a line of a cache

// Vectors of columns, whole ones but for a last part.
template <int N, int V, int R>
struct Columns {
  using F = Simd<float, N>;

  static inline F load(const float* from, size_t left) {
    return left >= N ? F::load(from) : load_part<N>(from, left);
  }
  static inline void store(F x, float* to, size_t left) {
    if (left >= N) x.store(to);
    else store_part<N>(x, to, left);
  }
  // Floats from vector v's first column to the last that exists; 0 when the vector has none.
  static inline size_t left_of(size_t width, int v) {
    const size_t before = static_cast<size_t>(v) * N;
    return width > before ? width - before : 0;
  }
};

// Adds `from` (R, V*N) to acc; Part: the last vector may be a part, or missing.
template <int N, int V, int R, bool Part>
inline void add_rows(Simd<float, N> (&acc)[R][V], const float* from, ptrdiff_t row, ptrdiff_t block, size_t width) {
  using F = Simd<float, N>;
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const float* at = from + r * row + v * block;
      if constexpr (!Part) {
        acc[r][v] = acc[r][v] + F::load(at);
      } else if (const size_t left = Columns<N, V, R>::left_of(width, v); left > 0) {
        acc[r][v] = acc[r][v] + Columns<N, V, R>::load(at, left);
      }
    }
}

template <int N, int V, int R>
inline void add_biases(Simd<float, N> (&acc)[R][V], const Tile& t) {
  using F = Simd<float, N>;
  if (t.bias != nullptr) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      const F bias = F::load(t.bias + v * N);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) acc[r][v] = acc[r][v] + bias;
    }
  }
  if (t.row_bias != nullptr) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F bias = F::fill(t.row_bias[r]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = acc[r][v] + bias;
    }
  }
}

template <int N, int V, int R>
inline void clip_rows(Simd<float, N> (&acc)[R][V], float low, float high) {
  using F = Simd<float, N>;
  const F least = F::fill(low), most = F::fill(high);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = smaller(larger(acc[r][v], least), most);
}

template <int N, int V, int R, bool Part>
inline void store_rows(const Simd<float, N> (&acc)[R][V], const Tile& t) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      float* at = t.c + r * t.c_row + v * t.c_block;
      if constexpr (!Part) {
        acc[r][v].store(at);
      } else if (const size_t left = Columns<N, V, R>::left_of(t.width, v); left > 0) {
        Columns<N, V, R>::store(acc[r][v], at, left);
      }
    }
}

// Zeros, or what earlier parts of k made: a sum goes on where it was, so that into how many parts k is cut changes no bit.
template <int N, int V, int R, bool Part>
inline void begin_tile(Simd<float, N> (&acc)[R][V], const Tile& t) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = Simd<float, N>::fill(0.0f);
  if (t.accumulate) add_rows<N, V, R, Part>(acc, t.c, t.c_row, t.c_block, t.width);
}

template <int N, int V, int R, bool Part>
inline void end_tile(Simd<float, N> (&acc)[R][V], const Tile& t) {
  if (t.finish) {
    add_biases(acc, t);
    if (t.residual != nullptr) add_rows<N, V, R, Part>(acc, t.residual, t.residual_row, t.residual_block, t.width);
    if (t.activation == Activation::clip) clip_rows(acc, t.low, t.high);
  }
  store_rows<N, V, R, Part>(acc, t);
}

// The functions that are too long to be unrolled over a tile go over what was stored, which is near still, by the longest
// lines that there are.
template <int N>
__attribute__((noinline)) void activate_stored(const Tile& t, int vectors, int rows) {
  const auto line = [&t](float* at, size_t n) { activate_line<N>(t.activation, at, at, n, t.low, t.high); };
  if (t.c_block == N) {
    for (int r = 0; r < rows; ++r) line(t.c + r * t.c_row, t.width);
    return;
  }
  for (int v = 0; v < vectors; ++v) {
    const size_t before = static_cast<size_t>(v) * N;
    if (t.width <= before) return;
    const size_t width = less_of(N, t.width - before);
    float* at = t.c + v * t.c_block;
    if (t.c_row == N && width == N) {
      line(at, static_cast<size_t>(rows) * N);
    } else {
      for (int r = 0; r < rows; ++r) line(at + r * t.c_row, width);
    }
  }
}

template <int N, int V, int R>
void tile_in_registers(const Tile& t) {
  using F = Simd<float, N>;
  F acc[R][V];
  const bool whole = t.width == static_cast<size_t>(V * N);
  if (whole) begin_tile<N, V, R, false>(acc, t);
  else begin_tile<N, V, R, true>(acc, t);

  constexpr int groups = (R + 3) / 4;
  const ptrdiff_t row = t.a_row;
  const ptrdiff_t row3 = 3 * row;
  const ptrdiff_t step = t.b_step, ahead = STEPS_AHEAD * step;
  const float* b = t.b;
  const float* of_block = t.a;
  for (size_t block = 1; block <= t.reach.blocks; ++block, of_block += t.reach.block) {
    const size_t run = block == t.reach.blocks ? t.reach.last_run : t.reach.run;
    const float* of_line = of_block;
    for (size_t line = 0; line < t.reach.lines; ++line, of_line += t.reach.line) {
      const float* of_tap = of_line;
      for (size_t tap = 0; tap < t.reach.taps; ++tap, of_tap += t.reach.tap) {
        if (t.reach.soon != 0)
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) __builtin_prefetch(of_tap + t.reach.soon + r * row);
        const float* group[groups];
#pragma GCC unroll 4
        for (int g = 0; g < groups; ++g) group[g] = of_tap + 4 * g * row;
        for (size_t p = 0; p < run; ++p) {
          F columns[V];
#pragma GCC unroll 8
          for (int v = 0; v < V; ++v) {
            columns[v] = F::load(b + v * N);
            if (v * N % line_floats == 0) __builtin_prefetch(b + ahead + v * N);
          }
#pragma GCC unroll 16
          for (int r = 0; r < R; ++r) {
            const int at = r % 4;
            const F x = F::fill(*(group[r / 4] + (at == 0 ? 0 : at == 1 ? row : at == 2 ? 2 * row : row3)));
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) acc[r][v] = acc[r][v] + x * columns[v];
          }
#pragma GCC unroll 4
          for (int g = 0; g < groups; ++g) {
            group[g] += 1;
            asm("" : "+r"(group[g]));
          }
          b += step;
        }
      }
    }
  }
  if (whole) end_tile<N, V, R, false>(acc, t);
  else end_tile<N, V, R, true>(acc, t);
  if (t.finish && t.activation > Activation::clip) activate_stored<N>(t, V, R);
}

template <int N, int V, int R>
inline void tile_of(int rows, const Tile& t) {
  if (rows == R) return tile_in_registers<N, V, R>(t);
  if constexpr (R > 1) tile_of<N, V, R - 1>(rows, t);
}

// Rows that fit the registers beside V vectors of B and, where products cannot read a number of A from memory, one of A.
template <int V>
constexpr int rows_fit = (REGISTERS - V - (MEMORY_OPERAND ? 0 : 1)) / V;
template <int V>
constexpr int rows_max = rows_fit<V> < tile_rows_limit ? rows_fit<V> : tile_rows_limit;

}  // namespace
}  // namespace shoal
