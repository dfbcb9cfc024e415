// One row of a depthwise convolution, over one block of channels or one plain channel: what a level of dispatch offers.
#pragma once

#include <cstddef>

#include "kernels/tile.h"

namespace shoal {

// out (columns, lanes) = sum over lines and taps of in * weights (lines, taps, lanes), and the epilogue. Steps in floats.
//
// A plain row has weights (lines, taps), one bias, and pixels next to one another; its input is padded, and one vector of
// floats behind its last pixel may be read.
struct DepthwiseLine {
  const float* in;
  ptrdiff_t line, tap, step;  // from a kernel row, a kernel column and an output column to the next
  size_t lines, taps, columns;
  const float* weights;
  const float* bias;
  float* out;
  ptrdiff_t out_pixel;
  const float* residual;  // or null
  ptrdiff_t residual_pixel;
  Activation activation;
  float low, high;
};

}  // namespace shoal
