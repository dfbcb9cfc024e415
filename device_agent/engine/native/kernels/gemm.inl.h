// Blocked matrix product over Simd<float, N>. Included by kernels/table.inl.h, once a level.
//
// C is made in tiles of MR rows by V vectors that stay in registers while k runs. B is packed into panels of one
// tile's width, A into strips of MR rows, so that the inner loop reads both in order whatever the strides were. With
// few rows (one digit, one token) packing B would cost as much as the product, so B is read where it lies, by dot products
// when it is transposed. Between panels, some ten microseconds apart, the run's kill mark is looked at.

namespace shoal {
namespace {

constexpr size_t depth_block = 256;   // k at once: a panel of B stays in the first-level cache
constexpr size_t column_block = 512;  // n at once: the packed B stays in the second-level cache
constexpr size_t strips_block = 8;    // strips of A at once
constexpr size_t few_strips = 6;      // as many strips of A or fewer: packing B would not pay
constexpr size_t dot_rows = 4;        // as many rows or fewer against a transposed B: neither would turning it
constexpr int dots_at_once = 8;

inline size_t less_of(size_t a, size_t b) { return a < b ? a : b; }

inline bool is_cancelled(const Gemm& g) { return g.cancelled != nullptr && g.cancelled->load(std::memory_order_relaxed); }

// acc (ROWS, V*N) += A (ROWS, k) @ B (k, V*N), then C = alpha * acc (+ C), for the first `width` columns.
template <int N, int V, int ROWS>
inline void tile(size_t k, const float* a, ptrdiff_t a_row, ptrdiff_t a_column, const float* b, ptrdiff_t b_row,
                 float alpha, float* c, ptrdiff_t c_row, bool accumulate, size_t width) {
  using F = Simd<float, N>;
  F acc[ROWS][V];
  for (auto& row : acc)
    for (auto& lane : row) lane = F::fill(0.0f);
  for (size_t p = 0; p < k; ++p) {
    F line[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) line[v] = F::load(b + v * N);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const F x = F::fill(a[r * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = acc[r][v] + x * line[v];
    }
    a += a_column;
    b += b_row;
  }
  const F scale = F::fill(alpha);
  for (int r = 0; r < ROWS; ++r) {
    float* to = c + r * c_row;
    if (width == static_cast<size_t>(V * N)) {
      for (int v = 0; v < V; ++v) {
        const F made = acc[r][v] * scale;
        (accumulate ? F::load(to + v * N) + made : made).store(to + v * N);
      }
    } else {
      float edge[V * N];
      for (int v = 0; v < V; ++v) (acc[r][v] * scale).store(edge + v * N);
      for (size_t j = 0; j < width; ++j) to[j] = accumulate ? to[j] + edge[j] : edge[j];
    }
  }
}

// Chooses the tile with the right number of rows at compile time.
template <int N, int V, int ROWS>
inline void tile_of(size_t rows, size_t k, const float* a, ptrdiff_t a_row, ptrdiff_t a_column, const float* b,
                    ptrdiff_t b_row, float alpha, float* c, ptrdiff_t c_row, bool accumulate, size_t width) {
  if (rows == ROWS) return tile<N, V, ROWS>(k, a, a_row, a_column, b, b_row, alpha, c, c_row, accumulate, width);
  if constexpr (ROWS > 1)
    tile_of<N, V, ROWS - 1>(rows, k, a, a_row, a_column, b, b_row, alpha, c, c_row, accumulate, width);
}

// A panel of B: (k, WIDTH), columns past `width` are zero.
template <int WIDTH>
inline void pack_panel(const Gemm& g, size_t p0, size_t k, size_t j0, size_t width, float* to) {
  for (size_t p = 0; p < k; ++p, to += WIDTH) {
    const float* from = g.b + static_cast<ptrdiff_t>(p0 + p) * g.b_row + static_cast<ptrdiff_t>(j0) * g.b_column;
    if (width == WIDTH && g.b_column == 1) {
      __builtin_memcpy(to, from, WIDTH * sizeof(float));
      continue;
    }
    for (size_t j = 0; j < width; ++j) to[j] = from[static_cast<ptrdiff_t>(j) * g.b_column];
    for (size_t j = width; j < WIDTH; ++j) to[j] = 0.0f;
  }
}

// A strip of A: k columns of `rows` elements, one after the other.
inline void pack_strip(const Gemm& g, size_t p0, size_t k, size_t i0, size_t rows, float* to) {
  const float* from = g.a + static_cast<ptrdiff_t>(i0) * g.a_row + static_cast<ptrdiff_t>(p0) * g.a_column;
  for (size_t r = 0; r < rows; ++r)
    for (size_t p = 0; p < k; ++p)
      to[p * rows + r] = from[static_cast<ptrdiff_t>(r) * g.a_row + static_cast<ptrdiff_t>(p) * g.a_column];
}

// J results of one row: dot products with columns that lie in line, `b_column` apart.
template <int N, int J>
inline void dots(size_t k, const float* a, const float* b, ptrdiff_t b_column, float* sums) {
  using F = Simd<float, N>;
  F acc[J];
  for (auto& one : acc) one = F::fill(0.0f);
  size_t p = 0;
  for (; p + N <= k; p += N) {
    const F x = F::load(a + p);
#pragma GCC unroll 8
    for (int j = 0; j < J; ++j) acc[j] = acc[j] + x * F::load(b + j * b_column + p);
  }
  for (int j = 0; j < J; ++j) {
    float lanes[N];
    acc[j].store(lanes);
    for (int half = N / 2; half > 0; half /= 2)
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    sums[j] = lanes[0];
    for (size_t q = p; q < k; ++q) sums[j] += a[q] * b[j * b_column + static_cast<ptrdiff_t>(q)];
  }
}

// One row of results, `c_step` apart.
template <int N>
inline void row_of_dots(const Gemm& g, const float* a, const float* b, ptrdiff_t b_column, size_t n, float* c,
                        ptrdiff_t c_step) {
  for (size_t j = 0; j < n && !is_cancelled(g); j += dots_at_once) {
    const size_t width = less_of(dots_at_once, n - j);
    const float* from = b + static_cast<ptrdiff_t>(j) * b_column;
    float sums[dots_at_once];
    if (width == dots_at_once) dots<N, dots_at_once>(g.k, a, from, b_column, sums);
    else
      for (size_t i = 0; i < width; ++i) dots<N, 1>(g.k, a, from + static_cast<ptrdiff_t>(i) * b_column, 0, sums + i);
    for (size_t i = 0; i < width; ++i) {
      float& to = c[static_cast<ptrdiff_t>(j + i) * c_step];
      to = g.alpha * sums[i] + (g.accumulate ? to : 0.0f);
    }
  }
}

template <int N, int V, int MR>
struct Blocked {
  static constexpr size_t panel = static_cast<size_t>(V) * N;
  static constexpr size_t columns = (column_block + panel - 1) / panel * panel;
  static constexpr size_t rows_block = strips_block * MR;

  // Both sides lie along k, and there is little to gain from a tile: a few rows, or a single column.
  static bool by_dots(const Gemm& g) { return g.b_row == 1 && g.a_column == 1 && (g.m <= dot_rows || g.n == 1); }

  static bool in_place(const Gemm& g) { return g.b_column == 1 && g.m <= few_strips * MR; }

  static size_t workspace(const Gemm& g) {
    const size_t k = less_of(g.k, depth_block);
    if (by_dots(g)) return 0;
    if (in_place(g)) return k * panel;
    const size_t wide = less_of((g.n + panel - 1) / panel * panel, columns);
    return k * wide + k * less_of(g.m, rows_block);
  }

  // Rows i0 .. i0 + rows of every panel of this block; A in strips when `strips` holds them.
  static void rows_of(const Gemm& g, size_t p0, size_t k, size_t i0, size_t rows, const float* strips, size_t j0,
                      size_t wide, const float* packed, bool accumulate) {
    for (size_t j = 0; j < wide && !is_cancelled(g); j += panel) {
      const size_t width = less_of(panel, wide - j);
      const bool direct = packed == nullptr || (in_place(g) && width == panel);
      const float* b = direct ? g.b + static_cast<ptrdiff_t>(p0) * g.b_row + static_cast<ptrdiff_t>(j0 + j)
                              : packed + (in_place(g) ? 0 : j * k);
      const ptrdiff_t b_row = direct ? g.b_row : static_cast<ptrdiff_t>(panel);
      for (size_t i = 0; i < rows; i += MR) {
        const size_t high = less_of(MR, rows - i);
        const float* a = strips != nullptr ? strips + i * k
                                           : g.a + static_cast<ptrdiff_t>(i0 + i) * g.a_row +
                                                 static_cast<ptrdiff_t>(p0) * g.a_column;
        const ptrdiff_t a_row = strips != nullptr ? 1 : g.a_row;
        const ptrdiff_t a_column = strips != nullptr ? static_cast<ptrdiff_t>(high) : g.a_column;
        float* c = g.c + static_cast<ptrdiff_t>(i0 + i) * g.c_row + static_cast<ptrdiff_t>(j0 + j);
        tile_of<N, V, MR>(high, k, a, a_row, a_column, b, b_row, g.alpha, c, g.c_row, accumulate, width);
      }
    }
  }

  static void few_rows(const Gemm& g, float* workspace) {
    for (size_t p0 = 0; p0 < g.k && !is_cancelled(g); p0 += depth_block) {
      const size_t k = less_of(depth_block, g.k - p0);
      const size_t tail = g.n % panel;
      if (tail != 0) pack_panel<panel>(g, p0, k, g.n - tail, tail, workspace);
      rows_of(g, p0, k, 0, g.m, nullptr, 0, g.n, workspace, g.accumulate || p0 > 0);
    }
  }

  static void many_rows(const Gemm& g, float* workspace) {
    for (size_t j0 = 0; j0 < g.n; j0 += columns) {
      const size_t wide = less_of(columns, g.n - j0);
      for (size_t p0 = 0; p0 < g.k && !is_cancelled(g); p0 += depth_block) {
        const size_t k = less_of(depth_block, g.k - p0);
        const size_t padded = (wide + panel - 1) / panel * panel;
        for (size_t j = 0; j < wide; j += panel)
          pack_panel<panel>(g, p0, k, j0 + j, less_of(panel, wide - j), workspace + j * k);
        float* strips = workspace + padded * k;
        for (size_t i0 = 0; i0 < g.m && !is_cancelled(g); i0 += rows_block) {
          const size_t rows = less_of(rows_block, g.m - i0);
          for (size_t i = 0; i < rows; i += MR) pack_strip(g, p0, k, i0 + i, less_of(MR, rows - i), strips + i * k);
          rows_of(g, p0, k, i0, rows, strips, j0, wide, workspace, g.accumulate || p0 > 0);
        }
      }
    }
  }

  // One row against all of B: more columns at once, so that the adds do not wait for one another.
  static void one_row(const Gemm& g, float* workspace) {
    using Wide = Blocked<N, 4 * V, 1>;
    Gemm wide = g, rest = g;
    wide.n = g.n - g.n % Wide::panel;
    rest.n = g.n - wide.n;
    rest.b = g.b + wide.n;
    rest.c = g.c + wide.n;
    if (wide.n > 0) Wide::few_rows(wide, workspace);
    if (rest.n > 0) few_rows(rest, workspace);
  }

  static void run(const Gemm& g, float* workspace) {
    if (g.k == 0 && !g.accumulate) {
      for (size_t i = 0; i < g.m; ++i)
        for (size_t j = 0; j < g.n; ++j) g.c[static_cast<ptrdiff_t>(i) * g.c_row + static_cast<ptrdiff_t>(j)] = 0.0f;
    } else if (by_dots(g) && g.n == 1) {
      row_of_dots<N>(g, g.b, g.a, g.a_row, g.m, g.c, g.c_row);
    } else if (by_dots(g)) {
      for (size_t i = 0; i < g.m; ++i)
        row_of_dots<N>(g, g.a + static_cast<ptrdiff_t>(i) * g.a_row, g.b, g.b_column, g.n,
                       g.c + static_cast<ptrdiff_t>(i) * g.c_row, 1);
    } else if (in_place(g) && g.m == 1) {
      one_row(g, workspace);
    } else if (in_place(g)) {
      few_rows(g, workspace);
    } else {
      many_rows(g, workspace);
    }
  }
};

}  // namespace
}  // namespace shoal
