// Products of a few rows by a matrix that is read where it lies, float32: a classifier's last layers. What a session calls.
//
// Such a product takes as long as the matrix takes to be read, so nothing is packed, and weights of 16 bits are widened as
// they are read; threads share its columns.
#pragma once

#include "kernels/matmul.h"

namespace shoal {

enum class RowSide : uint8_t { float32, float16, bfloat16 };

struct RowProduct {
  Product product;       // A's columns are neighbours
  const void* b;         // (k, n): its columns or its rows are contiguous
  RowSide side;          // what it is made of; of 16 bits, A has at most half_rows_max rows
  ptrdiff_t b_row, b_column;
  const float* bias;     // (n) or null
};

size_t row_product_workspace_floats(size_t m, size_t n, size_t k, const Kernels& kernels, int threads);
// C (m, n) = activation(A @ B + bias + residual). False: cancelled, and C holds anything.
bool multiply_rows(const RowProduct& product, float* workspace, const Run& run);

}  // namespace shoal
