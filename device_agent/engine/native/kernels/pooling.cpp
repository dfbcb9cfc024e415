#include "kernels/pooling.h"

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t loads_in_piece = 256 * 1024;

// Kernel lines first .. end of a window that begins at row `at` of a picture `height` high.
struct Lines {
  ptrdiff_t first, end;
  Lines(ptrdiff_t at, size_t kernel, size_t dilation, size_t height) {
    const auto d = static_cast<ptrdiff_t>(dilation), k = static_cast<ptrdiff_t>(kernel);
    const auto high = static_cast<ptrdiff_t>(height);
    first = at < 0 ? std::min(k, (-at + d - 1) / d) : 0;
    end = at >= high ? first : std::clamp((high - at + d - 1) / d, first, k);
  }
};

}  // namespace

bool pool_picture(const Pooling& pooling, const float* in, const Picture& in_picture, float* out,
                  const Picture& out_picture, const Run& run) {
  const Pooling& p = pooling;
  const size_t blocks = p.blocked ? pieces_of(p.channels, static_cast<size_t>(run.kernels.lanes)) : p.channels;
  const size_t of_row = p.out_width * p.kernel_height * p.kernel_width;
  const size_t rows = p.batch * blocks * p.out_height;
  const size_t in_piece = rows_in_piece(rows, of_row * (p.blocked ? 4 : 1), loads_in_piece, run.threads());
  PoolRow shared{};
  shared.line = static_cast<ptrdiff_t>(p.dilation_height) * in_picture.row;
  shared.pixel = in_picture.pixel;
  shared.taps = static_cast<ptrdiff_t>(p.kernel_width);
  shared.columns = static_cast<ptrdiff_t>(p.out_width);
  shared.width = static_cast<ptrdiff_t>(p.in_width);
  shared.stride = static_cast<ptrdiff_t>(p.stride_width);
  shared.dilation = static_cast<ptrdiff_t>(p.dilation_width);
  shared.pad_left = static_cast<ptrdiff_t>(p.pad_left);
  shared.pad_right = static_cast<ptrdiff_t>(p.pad_right);
  shared.out_pixel = out_picture.pixel;
  shared.maximum = p.maximum;
  shared.blocked = p.blocked;
  shared.count_pads = p.count_pads;
  return share(run, pieces_of(rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, rows); ++i) {
      const auto y = static_cast<ptrdiff_t>(i % p.out_height), block = static_cast<ptrdiff_t>(i / p.out_height % blocks);
      const auto image = static_cast<ptrdiff_t>(i / p.out_height / blocks);
      const ptrdiff_t at = y * static_cast<ptrdiff_t>(p.stride_height) - static_cast<ptrdiff_t>(p.pad_top);
      const Lines lines(at, p.kernel_height, p.dilation_height, p.in_height);
      // The padded picture starts at row -pad_top, so that no window begins before it.
      const Lines counted(std::max<ptrdiff_t>(at, 0) == at ? at : 0, p.kernel_height, p.dilation_height,
                          p.in_height + p.pad_bottom + (at < 0 ? static_cast<size_t>(-at) : 0));
      PoolRow row = shared;
      row.lines = lines.end - lines.first;
      row.lines_counted = counted.end - counted.first;
      row.in = in + image * in_picture.image + block * in_picture.block +
               (at + lines.first * static_cast<ptrdiff_t>(p.dilation_height)) * in_picture.row;
      row.out = out + image * out_picture.image + block * out_picture.block + y * out_picture.row;
      run.kernels.pool_row(row);
    }
  });
}

}  // namespace shoal
