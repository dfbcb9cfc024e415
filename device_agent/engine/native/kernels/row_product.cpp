#include "kernels/row_product.h"

#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t columns_in_piece = 256;  // a kilobyte of each row of B

Gemm gemm_of(const RowProduct& of, size_t first, size_t columns) {
  const Product& p = of.product;
  const auto at = static_cast<ptrdiff_t>(first);
  return {p.m, columns, p.k, 1.0f, p.a, p.a_row, 1, of.b + at * of.b_column, of.b_row, of.b_column, p.c + at, p.c_row, false};
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
    Gemm gemm = gemm_of(of, first, columns);
    gemm.cancelled = run.cancelled;
    if (of.bias != nullptr) {
      gemm.accumulate = true;
      for (size_t i = 0; i < p.m; ++i)
        std::memcpy(gemm.c + static_cast<ptrdiff_t>(i) * p.c_row, of.bias + first, columns * sizeof(float));
    }
    kernels.gemm(gemm, workspace + static_cast<size_t>(worker) * room);
    for (size_t i = 0; i < p.m; ++i) end_row(p, i, first, columns, kernels);
  });
}

}  // namespace shoal
