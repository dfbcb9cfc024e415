#include "kernels/row_product.h"

#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t columns_in_piece = 256;  // a kilobyte of each row of B

void multiply_floats(const RowProduct& of, size_t first, size_t columns, float* workspace, const Run& run) {
  const Product& p = of.product;
  const auto at = static_cast<ptrdiff_t>(first);
  const float* b = static_cast<const float*>(of.b) + at * of.b_column;
  const Gemm gemm{p.m, columns, p.k, 1.0f, p.a, p.a_row, 1, b, of.b_row, of.b_column, p.c + at, p.c_row, of.bias != nullptr,
                  run.cancelled};
  run.kernels.gemm(gemm, workspace);
}

void multiply_halves(const RowProduct& of, size_t first, size_t columns, const Run& run) {
  const Product& p = of.product;
  const auto at = static_cast<ptrdiff_t>(first);
  const uint16_t* b = static_cast<const uint16_t*>(of.b) + at * of.b_column;
  run.kernels.half_rows({p.m, columns, p.k, p.a, p.a_row, b, of.b_row, of.b_column, of.side == RowSide::bfloat16, p.c + at,
                         p.c_row});
}

// What the product is added to.
void begin_row(const RowProduct& of, size_t row, size_t first, size_t columns) {
  float* c = of.product.c + static_cast<ptrdiff_t>(row) * of.product.c_row + static_cast<ptrdiff_t>(first);
  if (of.bias != nullptr) std::memcpy(c, of.bias + first, columns * sizeof(float));
  else std::memset(c, 0, columns * sizeof(float));
}

void end_row(const Product& p, size_t row, size_t first, size_t columns, const Kernels& kernels) {
  float* c = p.c + static_cast<ptrdiff_t>(row) * p.c_row + static_cast<ptrdiff_t>(first);
  if (p.residual != nullptr) {
    const float* rest = p.residual + static_cast<ptrdiff_t>(row) * p.residual_row + static_cast<ptrdiff_t>(first);
    kernels.binary_f32(Binary::add, c, 1, rest, 1, c, columns);
  }
  if (p.activation != Activation::none) kernels.activate_line(p.activation, c, c, columns, p.low, p.high);
}

}  // namespace

size_t row_product_workspace_floats(size_t m, size_t n, size_t k, const Kernels& kernels, int threads) {
  size_t most = 0;
  for (const size_t columns : {std::min(n, columns_in_piece), n % columns_in_piece}) {
    const auto wide = static_cast<ptrdiff_t>(n), deep = static_cast<ptrdiff_t>(k);
    const Gemm straight{m, columns, k, 1.0f, nullptr, deep, 1, nullptr, wide, 1, nullptr, wide, false};
    const Gemm turned{m, columns, k, 1.0f, nullptr, deep, 1, nullptr, 1, deep, nullptr, wide, false};
    most = std::max({most, kernels.gemm_workspace(straight), kernels.gemm_workspace(turned)});
  }
  return most * static_cast<size_t>(threads);
}

bool multiply_rows(const RowProduct& of, float* workspace, const Run& run) {
  const Product& p = of.product;
  const Kernels& kernels = run.kernels;
  const size_t room = row_product_workspace_floats(p.m, p.n, p.k, kernels, 1);
  return share(run, pieces_of(p.n, columns_in_piece), [&](size_t index, int worker) {
    const size_t first = index * columns_in_piece, columns = std::min(columns_in_piece, p.n - first);
    const bool halves = of.side != RowSide::float32;
    for (size_t i = 0; (halves || of.bias != nullptr) && i < p.m; ++i) begin_row(of, i, first, columns);
    if (halves) multiply_halves(of, first, columns, run);
    else multiply_floats(of, first, columns, workspace + static_cast<size_t>(worker) * room, run);
    for (size_t i = 0; i < p.m; ++i) end_row(p, i, first, columns, kernels);
  });
}

}  // namespace shoal
