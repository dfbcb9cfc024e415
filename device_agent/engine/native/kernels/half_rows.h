// What a level of dispatch offers for a few rows by a matrix of 16-bit floats: numbers are widened as they are read.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal {

constexpr size_t half_rows_max = 3;

struct HalfRows {
  size_t m, n, k;            // m at most half_rows_max
  const float* a;            // (m, k), its columns are neighbours
  ptrdiff_t a_row;
  const uint16_t* b;         // (k, n), its columns or its rows are neighbours
  ptrdiff_t b_row, b_column;
  bool brain;                // bfloat16; else float16
  float* c;                  // (m, n), to which the product is added
  ptrdiff_t c_row;
};

}  // namespace shoal
