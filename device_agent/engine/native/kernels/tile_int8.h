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
  size_t quads;           // of k, four to a quad; what is missing of the last is 128 in A and 0 in B
  const uint8_t* a;       // (rows, quads * 4)
  ptrdiff_t a_row;        // bytes
  const int8_t* b;        // packed (quads, vectors * lanes, 4)
  const int32_t* b_sums;  // of each column: what A's zero at 128 adds, over 128
  const float* b_scales;
  const float* a_scales;
  const float* bias;  // vectors * lanes
  float* c;
  ptrdiff_t c_row;
  size_t width;
  const float* residual;  // or null
  ptrdiff_t residual_row;
  Activation activation;
  float low, high;
};

using TileInt8Kernel = void (*)(int vectors, int rows, const TileInt8& tile);

// x (n) -> out (n), round(x / scale) + 128; gives scale = max|x| / 127.
using QuantizeRowKernel = float (*)(const float* x, size_t n, uint8_t* out);

}  // namespace shoal
