// Winograd convolution over blocked channels: transform parts of the picture, one matrix product a point, transform back.
//
// Packed weights: bias (out-channels, to whole blocks), then G g G' as panels (point, panel, in-channel, vectors * lanes).
// Workspace: transformed parts (point, in-block, part, lanes) and products (point, out-block, part, lanes) of as many parts
// as the second-level cache holds with both. Each of the three steps is shared by the pool's threads.
#include <tuple>
#include <vector>

#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t room_bytes = 1024 * 1024;  // of transformed parts and products at once

struct Layout {
  size_t lanes, unit, kernel, side, points;
  size_t in_blocks, out_blocks;
  size_t part_rows, part_columns, parts;  // of an image
  size_t parts_at_once;
  Parts panels;

  Layout(const Convolution& conv, const Kernels& kernels)
      : lanes(static_cast<size_t>(kernels.lanes)),
        unit(conv.unit),
        kernel(conv.shape.kernel_height),
        side(unit + kernel - 1),
        points(side * side),
        in_blocks(pieces_of(conv.shape.in_channels, lanes)),
        out_blocks(pieces_of(conv.shape.out_channels, lanes)),
        part_rows(pieces_of(conv.shape.out_height, unit)),
        part_columns(pieces_of(conv.shape.out_width, unit)),
        parts(part_rows * part_columns),
        panels(panels_of(conv.shape.out_channels, kernels)) {
    const size_t of_part = (in_blocks + out_blocks) * lanes * points * sizeof(float);
    const size_t tile = tile_rows(kernels, panels.size(0));
    parts_at_once = std::min(parts, std::max(room_bytes / of_part / tile, size_t{2}) * tile);
  }
  size_t parts_floats() const { return points * in_blocks * parts_at_once * lanes; }
  size_t products_floats() const { return points * out_blocks * parts_at_once * lanes; }
};

struct Job {
  const Convolution& conv;
  const Layout& layout;
  const Kernels& kernels;
  const float* in;
  const Picture& in_picture;
  const float* packed;
  const Epilogue& epilogue;
  const float* residual;
  float* out;
  const Picture& out_picture;
  float* parts;
  float* products;

  // Part `first + i` of block `block`, for i < count.
  void transform_in(size_t block, size_t first, size_t count) const;
  void multiply(size_t point, size_t panel, size_t count) const;
  void transform_out(size_t block, size_t first, size_t count) const;
};

void Job::transform_in(size_t block, size_t first, size_t count) const {
  const ConvShape& s = conv.shape;
  const auto kernel = kernels.winograd_in(static_cast<int>(layout.side));
  const auto inside = [](ptrdiff_t at, size_t size, size_t side) {  // of `side` pixels from `at`: first and end
    const auto most = static_cast<ptrdiff_t>(side), end = static_cast<ptrdiff_t>(size) - at;
    return std::pair(static_cast<int>(std::clamp<ptrdiff_t>(-at, 0, most)),
                     static_cast<int>(std::clamp<ptrdiff_t>(end, 0, most)));
  };
  WinogradIn w{};
  w.row = in_picture.row;
  w.pixel = in_picture.pixel;
  w.to_point = static_cast<ptrdiff_t>(layout.in_blocks * layout.parts_at_once * layout.lanes);
  for (size_t i = 0; i < count; ++i) {
    const size_t part = first + i;
    const auto y = static_cast<ptrdiff_t>(part / layout.part_columns * layout.unit) - static_cast<ptrdiff_t>(s.pad_top);
    const auto x = static_cast<ptrdiff_t>(part % layout.part_columns * layout.unit) - static_cast<ptrdiff_t>(s.pad_left);
    std::tie(w.first_row, w.end_row) = inside(y, s.in_height, layout.side);
    std::tie(w.first_column, w.end_column) = inside(x, s.in_width, layout.side);
    w.in = in + static_cast<ptrdiff_t>(block) * in_picture.block + y * w.row + x * w.pixel;
    w.to = parts + (block * layout.parts_at_once + i) * layout.lanes;
    kernel(w);
  }
}

void Job::multiply(size_t point, size_t panel, size_t count) const {
  const size_t vectors = layout.panels.size(panel), width = vectors * layout.lanes, k = conv.shape.in_channels;
  const size_t first = layout.panels.begin(panel);
  const Parts rows(count, tile_rows(kernels, vectors));
  const auto block = static_cast<ptrdiff_t>(layout.parts_at_once * layout.lanes);
  Tile tile{};
  tile.reach = reach_over(layout.in_blocks, layout.lanes, k - (layout.in_blocks - 1) * layout.lanes, block);
  tile.a_row = kernels.lanes;
  tile.b_step = static_cast<ptrdiff_t>(width);
  tile.b = packed + layout.out_blocks * layout.lanes + (point * layout.out_blocks + first) * layout.lanes * k;
  tile.c_row = kernels.lanes;
  tile.c_block = block;
  tile.width = width;
  for (size_t i = 0; i < rows.count; ++i) {
    const size_t row = rows.begin(i) * layout.lanes;
    tile.a = parts + point * layout.in_blocks * layout.parts_at_once * layout.lanes + row;
    tile.c = products + (point * layout.out_blocks + first) * layout.parts_at_once * layout.lanes + row;
    kernels.tile(static_cast<int>(vectors), static_cast<int>(rows.size(i)), tile);
  }
}

void Job::transform_out(size_t block, size_t first, size_t count) const {
  const ConvShape& s = conv.shape;
  const auto kernel = kernels.winograd_out(static_cast<int>(layout.side), static_cast<int>(layout.unit));
  const auto at = static_cast<ptrdiff_t>(block);
  const Picture& rest = epilogue.residual_picture;
  WinogradOut w{};
  w.from_point = static_cast<ptrdiff_t>(layout.out_blocks * layout.parts_at_once * layout.lanes);
  w.bias = packed + block * layout.lanes;
  w.row = out_picture.row;
  w.pixel = out_picture.pixel;
  w.residual_row = rest.row;
  w.residual_pixel = rest.pixel;
  w.activation = epilogue.activation;
  w.low = epilogue.low;
  w.high = epilogue.high;
  for (size_t i = 0; i < count; ++i) {
    const size_t part = first + i;
    const size_t y = part / layout.part_columns * layout.unit, x = part % layout.part_columns * layout.unit;
    const auto row = static_cast<ptrdiff_t>(y), column = static_cast<ptrdiff_t>(x);
    w.rows = static_cast<int>(std::min(layout.unit, s.out_height - y));
    w.columns = static_cast<int>(std::min(layout.unit, s.out_width - x));
    w.from = products + (block * layout.parts_at_once + i) * layout.lanes;
    w.out = out + at * out_picture.block + row * w.row + column * w.pixel;
    if (residual != nullptr) w.residual = residual + at * rest.block + row * rest.row + column * rest.pixel;
    kernel(w);
  }
}

bool run_parts(const Job& job, size_t first, size_t count, const Run& run) {
  const Layout& layout = job.layout;
  const size_t panels = layout.panels.count;
  // A few hundred vectors of work at least in a piece: what it costs to hand one out is then small.
  const size_t in_piece = std::max<size_t>(1, std::min<size_t>(count, 16));
  const size_t chunks = pieces_of(count, in_piece);
  const auto chunk = [&](size_t index) { return std::min(in_piece, count - index % chunks * in_piece); };
  const auto offset = [&](size_t index) { return index % chunks * in_piece; };
  const auto shift = [&](size_t index) {
    Job piece = job;
    piece.parts += offset(index) * layout.lanes;
    piece.products += offset(index) * layout.lanes;
    return piece;
  };
  return share(run, layout.in_blocks * chunks,
                   [&](size_t index, int) {
                     shift(index).transform_in(index / chunks, first + offset(index), chunk(index));
                   }) &&
         share(run, layout.points * panels,
                   [&](size_t index, int) { job.multiply(index / panels, index % panels, count); }) &&
         share(run, layout.out_blocks * chunks, [&](size_t index, int) {
           shift(index).transform_out(index / chunks, first + offset(index), chunk(index));
         });
}

// G (side, kernel): row i is point^j over the product of its distances to the others; the last is infinity's.
std::vector<double> weights_transform(size_t side, size_t kernel) {
  std::vector<double> g(side * kernel, 0.0);
  for (size_t i = 0; i + 1 < side; ++i) {
    const double p = winograd_point(static_cast<int>(i));
    double scale = 1;
    for (size_t j = 0; j + 1 < side; ++j)
      if (j != i) scale *= p - winograd_point(static_cast<int>(j));
    for (size_t j = 0; j < kernel; ++j) {
      g[i * kernel + j] = 1 / scale;
      for (size_t power = 0; power < j; ++power) g[i * kernel + j] *= p;
    }
  }
  g[side * kernel - 1] = 1;
  return g;
}

}  // namespace

bool supports_winograd(const Convolution& conv, const Kernels& kernels) {
  const ConvShape& s = conv.shape;
  const bool plain = s.groups == 1 && s.kernel_height == s.kernel_width && s.stride_height == 1 &&
                     s.stride_width == 1 && s.dilation_height == 1 && s.dilation_width == 1;
  const size_t side = conv.unit + s.kernel_height - 1;
  return plain && side <= winograd_side_max &&
         kernels.winograd_out(static_cast<int>(side), static_cast<int>(conv.unit)) != nullptr;
}

size_t winograd_weights_floats(const Convolution& conv, const Kernels& kernels) {
  const Layout layout(conv, kernels);
  return layout.out_blocks * layout.lanes * (1 + layout.points * conv.shape.in_channels);
}

size_t winograd_workspace_floats(const Convolution& conv, const Kernels& kernels) {
  const Layout layout(conv, kernels);
  return layout.parts_floats() + layout.products_floats();
}

void pack_winograd(const Convolution& conv, const float* weights, const float* bias, float* packed,
                   const Kernels& kernels) {
  const Layout layout(conv, kernels);
  const ConvShape& s = conv.shape;
  const std::vector<double> g = weights_transform(layout.side, layout.kernel);
  const size_t columns = layout.out_blocks * layout.lanes, k = s.in_channels;
  for (size_t o = 0; o < columns; ++o) packed[o] = bias != nullptr && o < s.out_channels ? bias[o] : 0.0f;
  float* to = packed + columns;
  std::fill_n(to, layout.points * columns * k, 0.0f);
  double half[winograd_side_max * winograd_side_max];
  for (size_t panel = 0; panel < layout.panels.count; ++panel) {
    const size_t first = layout.panels.begin(panel) * layout.lanes, width = layout.panels.size(panel) * layout.lanes;
    for (size_t o = first; o < std::min(first + width, s.out_channels); ++o)
      for (size_t i = 0; i < k; ++i) {
        const float* from = weights + (o * k + i) * layout.kernel * layout.kernel;
        for (size_t y = 0; y < layout.side; ++y)
          for (size_t x = 0; x < layout.kernel; ++x) {
            half[y * layout.kernel + x] = 0;
            for (size_t j = 0; j < layout.kernel; ++j)
              half[y * layout.kernel + x] += g[y * layout.kernel + j] * static_cast<double>(from[j * layout.kernel + x]);
          }
        for (size_t point = 0; point < layout.points; ++point) {
          double sum = 0;
          for (size_t j = 0; j < layout.kernel; ++j)
            sum += half[point / layout.side * layout.kernel + j] * g[point % layout.side * layout.kernel + j];
          to[point * columns * k + first * k + i * width + o - first] = static_cast<float>(sum);
        }
      }
  }
}

bool convolve_winograd(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                       const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                       const Run& run) {
  const Layout layout(conv, run.kernels);
  for (size_t image = 0; image < conv.shape.batch; ++image) {
    const auto i = static_cast<ptrdiff_t>(image);
    const Job job{conv, layout, run.kernels, in + i * in_picture.image, in_picture, packed, epilogue,
                  epilogue.residual == nullptr ? nullptr : epilogue.residual + i * epilogue.residual_picture.image,
                  out + i * out_picture.image, out_picture, workspace, workspace + layout.parts_floats()};
    for (size_t first = 0; first < layout.parts; first += layout.parts_at_once)
      if (!run_parts(job, first, std::min(layout.parts_at_once, layout.parts - first), run)) return false;
  }
  return true;
}

}  // namespace shoal
