// Pictures between the plain and the blocked layout.
#include "kernels/convolution.h"
#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

namespace {

// Runs body(image, block, row) over all rows, several in a piece.
template <typename Body>
bool over_rows(const Run& run, size_t batch, size_t blocks, size_t height, size_t row_floats, const Body& body) {
  const size_t rows = batch * blocks * height;
  const size_t in_piece = rows_in_piece(rows, row_floats, copied_floats_in_piece, run.threads());
  return share(run, pieces_of(rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, rows); ++i)
      body(static_cast<ptrdiff_t>(i / height / blocks), static_cast<ptrdiff_t>(i / height % blocks),
           static_cast<ptrdiff_t>(i % height));
  });
}

}  // namespace

bool to_blocked(const float* in, const Picture& in_picture, float* out, const Picture& out_picture, size_t batch,
                size_t channels, size_t height, size_t width, const Run& run) {
  const auto lanes = static_cast<size_t>(run.kernels.lanes);
  return over_rows(run, batch, pieces_of(channels, lanes), height, width * lanes,
                   [&](ptrdiff_t image, ptrdiff_t block, ptrdiff_t row) {
                     const size_t first = static_cast<size_t>(block) * lanes;
                     run.kernels.interleave(in + image * in_picture.image +
                                                static_cast<ptrdiff_t>(first) * in_picture.block + row * in_picture.row,
                                            in_picture.block, in_picture.pixel, std::min(lanes, channels - first),
                                            out + image * out_picture.image + block * out_picture.block +
                                                row * out_picture.row,
                                            out_picture.pixel, width);
                   });
}

bool to_plain(const float* in, const Picture& in_picture, float* out, const Picture& out_picture, size_t batch,
              size_t channels, size_t height, size_t width, const Run& run) {
  const auto lanes = static_cast<size_t>(run.kernels.lanes);
  return over_rows(run, batch, pieces_of(channels, lanes), height, width * lanes,
                   [&](ptrdiff_t image, ptrdiff_t block, ptrdiff_t row) {
                     const size_t first = static_cast<size_t>(block) * lanes;
                     run.kernels.deinterleave(in + image * in_picture.image + block * in_picture.block +
                                                  row * in_picture.row,
                                              in_picture.pixel, width,
                                              out + image * out_picture.image +
                                                  static_cast<ptrdiff_t>(first) * out_picture.block +
                                                  row * out_picture.row,
                                              out_picture.block, out_picture.pixel, std::min(lanes, channels - first));
                   });
}

}  // namespace shoal
