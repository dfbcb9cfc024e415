// Matrix products with 8-bit weights and activations that are quantised as they come: what a session calls.
//
// Weights are quantised once, each column by its own scale, activations row by row when they are multiplied; sums are
// exact in 32 bits. The result is float32. How to call: `packed_int8_bytes` and `pack_right_int8` once, then
// `multiply_int8`. Nothing is allocated and nothing is thrown; k is at most int8_k_max.
#pragma once

#include "kernels/matmul.h"
#include "kernels/tile_int8.h"

namespace shoal {

size_t packed_int8_bytes(size_t k, size_t n, const Kernels& kernels);
// B (k, n) and bias (n) or null -> packed; 64-byte aligned. Of float32 each column gets a scale of its own.
void pack_right_int8(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                     void* packed, const Kernels& kernels);
void pack_right_int8(const int8_t* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* scales, const float* bias,
                     size_t k, size_t n, void* packed, const Kernels& kernels);

size_t product_int8_workspace_bytes(const Product& product);
// C = activation(A @ B + bias + residual), A and B as quantised. False: cancelled, and C holds anything.
bool multiply_int8(const Product& product, const void* packed, void* workspace, const Run& run);

// The best 8-bit tile of this machine among those that the level may use.
TileInt8Kernel tile_int8_of(const Kernels& kernels);

}  // namespace shoal
