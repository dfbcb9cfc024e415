// Attention, float32: softmax(Q @ K^T * scale + mask) @ V for many heads. What a session calls.
//
// A piece is some queries of one head: their scores lie in the workspace, in the second-level cache, from the product to the
// softmax to the next product, and never in the arena. Nothing is allocated inside and nothing is thrown.
#pragma once

#include "kernels/run.h"

namespace shoal {

// One side of it: a matrix a head with any strides.
struct Heads {
  const float* at;
  ptrdiff_t head, row, column;
};

struct Attention {
  size_t outer, inner;    // heads are outer * inner: batch and heads of one, say
  size_t m, n, k, width;  // queries, keys, size of a key, size of a value
  Heads queries;          // (m, k)
  Heads keys;             // (k, n): as the product takes them
  Heads values;           // (n, width)
  const float* mask;      // added to the scaled scores, or null
  ptrdiff_t mask_outer, mask_inner, mask_row, mask_column;  // the last is 0 or 1
  float scale;
  float* out;             // rows are contiguous
  ptrdiff_t out_outer, out_inner, out_row;
};

size_t attention_workspace_floats(const Attention& attention, const Kernels& kernels, int threads);
// False: cancelled, and `out` holds anything.
bool attend(const Attention& attention, float* workspace, const Run& run);

}  // namespace shoal
