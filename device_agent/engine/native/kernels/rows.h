// What a level of dispatch offers for single rows: of a matrix to normalise, of windows to pool.
#pragma once

#include <cstddef>

namespace shoal {

struct NormRow {
  const float* x;
  const float* residual;  // or null; then x + residual goes to `sum`
  const float* scale;     // or null
  const float* shift;     // or null
  float* out;
  float* sum;
  size_t n;
  float epsilon;
};

struct PoolRow {
  const float* in;  // pixel 0 of the first line that lies inside
  ptrdiff_t line, pixel;
  ptrdiff_t lines, lines_counted, taps, columns, width;  // lines inside; lines that a padded average counts
  ptrdiff_t stride, dilation, pad_left, pad_right;
  float* out;
  ptrdiff_t out_pixel;
  bool maximum, blocked, count_pads;
};

}  // namespace shoal
