// What products of every kind are made of: panels of a right side, and rows of a result over one of them.
//
// Rules: included by drivers only; whoever calls has checked the sizes.
#pragma once

#include "kernels/matmul.h"
#include "kernels/parallel.h"

namespace shoal {

// A right side where it lies: (k, n) with any strides.
struct RightSide {
  const float* at;
  ptrdiff_t row, column;
  size_t k, n;
};

// One panel of it (k, width) from column `first` on, zeros behind the last column; each number is scaled.
void pack_panel(const RightSide& from, size_t first, size_t width, float scale, float* to, const Kernels& kernels);

// All panels, one after another: floats of them, and their writing.
size_t panels_floats(size_t k, size_t n, const Kernels& kernels);
void pack_panels(const RightSide& from, float scale, float* to, const Kernels& kernels);

// Row parts first .. last of C for the panel that begins at `column`.
void rows_of_panel(const Product& product, const float* a, ptrdiff_t a_row, const float* bias, const float* panel,
                   size_t column, size_t width, size_t first, size_t last, const Parts& parts, const Kernels& kernels);

// A few rows of A with neighbouring columns over all packed panels.
void rows_of_panels(const Product& product, const float* packed, const Kernels& kernels);

}  // namespace shoal
