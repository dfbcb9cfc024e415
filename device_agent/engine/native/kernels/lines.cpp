#include "kernels/lines.h"

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t floats_in_piece = 32 * 1024;

}  // namespace

bool softmax(const float* x, float* out, size_t rows, size_t columns, const Run& run) {
  const size_t in_piece = rows_in_piece(rows, columns, floats_in_piece, run.threads());
  return share(run, pieces_of(rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, rows); ++i)
      run.kernels.softmax_row(x + i * columns, out + i * columns, columns);
  });
}

bool normalize(const LayerNorm& norm, const Run& run) {
  const size_t in_piece = rows_in_piece(norm.rows, norm.columns, floats_in_piece, run.threads());
  return share(run, pieces_of(norm.rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, norm.rows); ++i) {
      const size_t at = i * norm.columns;
      // The sum goes where it is wanted, else where the result will be.
      run.kernels.normalize_row({norm.x + at, norm.residual == nullptr ? nullptr : norm.residual + at, norm.scale,
                                 norm.shift, norm.out + at, (norm.sum == nullptr ? norm.out : norm.sum) + at,
                                 norm.columns, norm.epsilon});
    }
  });
}

}  // namespace shoal
