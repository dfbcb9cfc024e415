// Kernels over rows of a matrix, float32: softmax and layer normalisation over the last axis. What a session calls.
//
// Nothing is allocated and nothing is thrown. Rows are contiguous; `out` may be `x`.
#pragma once

#include "kernels/run.h"

namespace shoal {

// out = exp(x - max) / sum, row by row.
bool softmax(const float* x, float* out, size_t rows, size_t columns, const Run& run);

// out = (x + residual - mean) / sqrt(variance + epsilon) * scale + shift, row by row.
struct LayerNorm {
  size_t rows, columns;
  float epsilon;
  const float* x;
  const float* residual;  // (rows, columns) or null
  const float* scale;     // (columns) or null
  const float* shift;     // (columns) or null
  float* out;
  float* sum;             // where x + residual goes, or null
};
bool normalize(const LayerNorm& norm, const Run& run);

}  // namespace shoal
