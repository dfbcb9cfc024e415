// The register tile of matrix products in 8-bit integers, and the quantising of a row: what a level of dispatch offers.
//
// A is unsigned with zero at 128, B signed; four neighbours of k are multiplied and summed into 32 bits at a time. Sums
// cannot overflow for k up to int8_k_max.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/tile.h"

namespace shoal {

constexpr size_t int8_k_max = 65'536;  // 65,536 * 255 * 127 < 2^31

struct TileInt8 {
  size_t lines, quads;    // k in runs of neighbouring bytes, four to a quad; what is missing is 128 in A and 0 in B
  const uint8_t* a;       // (rows, lines, quads * 4)
  ptrdiff_t a_row, line;  // bytes from one to the next
  const int8_t* b;        // packed (lines * quads, vectors * lanes, 4)
  const int32_t* b_sums;  // of each column: what A's zero at 128 adds, over 128
  const float* b_scales;
  const float* a_scales;
  const float* bias;  // vectors * lanes
  float* c;
  ptrdiff_t c_row, c_block;  // c_block: from one vector of columns to the next
  size_t width;
  const float* residual;  // or null
  ptrdiff_t residual_row, residual_block;
  Activation activation;
  float low, high;
};

using TileInt8Kernel = void (*)(int vectors, int rows, const TileInt8& tile);

// x (n) -> out (n), round(x / scale) + 128; gives scale = max|x| / 127.
using QuantizeRowKernel = float (*)(const float* x, size_t n, uint8_t* out);

// A row of pixels of one block of channels, `lanes` floats each, of which `channels` exist.
struct PixelRow {
  const float* in;
  size_t width, channels;
};
using LargestOfPixelsKernel = float (*)(const PixelRow& row);  // max |x|
// Each number times `scale`, rounded, plus 128; whole quads of a pixel are written, pixels `step` bytes apart.
using QuantizePixelsKernel = void (*)(const PixelRow& row, float scale, uint8_t* out, ptrdiff_t step);

}  // namespace shoal
