// Winograd's transforms of one tile of one block of channels: what a level of dispatch offers for them.
//
// F(n x n, k x k) by Cook and Toom: polynomials of n + k - 1 = side coefficients are multiplied at `side` points, which are
// 0, +-1/2, +-1, +-3/2 .. and infinity (Lavin and Gray 2015; points as in MNN, MLSys 2020, eq. 8). For a picture's part d
// (side, side) and weights g (k, k): y = A' ((G g G') * (B' d B)) A, where * is elementwise, so that a block of n x n
// results costs side^2 products instead of n^2 k^2.
#pragma once

#include <cstddef>

#include "kernels/tile.h"

namespace shoal {

constexpr int winograd_side_max = 8;

// Point i of `side - 1`: 0, 1/2, -1/2, 1, -1, ...; the last row of each matrix belongs to infinity.
constexpr double winograd_point(int i) { return (i % 2 == 0 ? -0.25 : 0.25) * (i % 2 == 0 ? i : i + 1); }

// d (side, side, lanes) -> B' d B, each of its side^2 vectors `to_point` floats behind the one before.
struct WinogradIn {
  const float* in;  // pixel (0, 0) of the part, which may lie outside: only what is inside is read
  ptrdiff_t row, pixel;
  int first_row, end_row, first_column, end_column;  // of the part that lie inside the picture
  float* to;
  ptrdiff_t to_point;
};

// m (side^2, lanes) -> A' m A (n, n, lanes) and the epilogue, of which rows x columns exist.
struct WinogradOut {
  const float* from;
  ptrdiff_t from_point;
  const float* bias;
  float* out;
  ptrdiff_t row, pixel;
  int rows, columns;
  const float* residual;  // or null
  ptrdiff_t residual_row, residual_pixel;
  Activation activation;
  float low, high;
};

}  // namespace shoal
