// One row of a depthwise convolution over one block of channels: what a level of dispatch offers for it.
#pragma once

#include <cstddef>

#include "kernels/tile.h"

namespace shoal {

// out (columns, lanes) = sum over lines and taps of in * weights (lines, taps, lanes), and the epilogue. Steps in floats.
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
