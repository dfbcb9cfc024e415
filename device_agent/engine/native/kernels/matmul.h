// Matrix products, float32, with a packed right side: what a session calls.
//
// How to call: `packed_floats` and `pack_right` once for weights (or in the workspace for a right side that is computed),
// then `multiply`. Nothing is allocated inside and nothing is thrown. Every number counts floats.
#pragma once

#include "kernels/run.h"
#include "kernels/tile.h"

namespace shoal {

size_t packed_floats(size_t k, size_t n, const Kernels& kernels);
// B (k, n) and bias (n) or null -> packed, in panels of as many columns as a register tile has.
void pack_right(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                float* packed, const Kernels& kernels);
bool pack_right(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                float* packed, const Run& run);

struct Product {
  size_t m, n, k;
  const float* a;
  ptrdiff_t a_row, a_column;
  float* c;  // its rows are contiguous
  ptrdiff_t c_row;
  // The epilogue; the bias lies in what pack_right made.
  Activation activation = Activation::none;
  float low = 0, high = 0;
  const float* residual = nullptr;
  ptrdiff_t residual_row = 0;
  bool accumulate = false;  // C holds what the product is added to
};

size_t product_workspace_floats(const Product& product, const Kernels& kernels, int threads);
// C (m, n) = activation(A (m, k) @ B (k, n) + bias + residual). False: cancelled, and C holds anything.
bool multiply(const Product& product, const float* packed, float* workspace, const Run& run);

// Products of many matrices at once, both sides computed: attention's (batch, m, k) @ (batch, k, n).
struct Products {
  size_t batch, m, n, k;
  const float* a;
  ptrdiff_t a_batch, a_row, a_column;
  const float* b;
  ptrdiff_t b_batch, b_row, b_column;
  float* c;
  ptrdiff_t c_batch, c_row;
  float scale = 1.0f;  // of each result
};
size_t products_workspace_floats(const Products& products, const Kernels& kernels, int threads);
bool multiply_each(const Products& products, float* workspace, const Run& run);

}  // namespace shoal
