// Strassen's product in Winograd's form, one level deep, float32: seven products of quarters in place of eight.
//
// The four sums of B's quarters are made when it is packed; those of A and C are passes over memory, so it pays for
// products that are large in all three sizes. Nothing is allocated inside and nothing is thrown.
#pragma once

#include "kernels/matmul.h"

namespace shoal {

// k and n are even; A's columns are neighbours.
inline bool strassen_fits(size_t m, size_t n, size_t k) { return m >= 2 && n >= 2 && k >= 2 && n % 2 == 0 && k % 2 == 0; }

size_t strassen_packed_floats(size_t k, size_t n, const Kernels& kernels);
size_t strassen_packing_floats(size_t k, size_t n);  // of workspace
void pack_strassen(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n, float* packed,
                   float* workspace, const Kernels& kernels);

size_t strassen_workspace_floats(size_t m, size_t n, size_t k);
// C (m, n) = activation(A (m, k) @ B (k, n) + bias + residual). False: cancelled, and C holds anything.
bool multiply_strassen(const Product& product, const float* packed, float* workspace, const Run& run);

}  // namespace shoal
