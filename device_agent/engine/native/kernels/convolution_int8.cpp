// Workspace: the scale of a picture, as often as a tile has rows; the largest number of each row of each block; then the
// bytes (padded height, padded width, channels to whole quads).
#include "kernels/convolution_int8.h"

#include "kernels/convolution_parts.h"
#include "kernels/matmul_int8_parts.h"

namespace shoal {

namespace {

constexpr uint8_t zero = 128;  // of rounded numbers
constexpr size_t rows_of_tile = 16;

struct Bytes {
  size_t pixel, width, height;  // bytes of a pixel; pixels of the padded picture
  size_t k;                     // bytes of a window

  explicit Bytes(const ConvShape& s)
      : pixel(pieces_of(s.in_channels, 4) * 4),
        width(reach_of(s.out_width, s.stride_width, s.kernel_width, 1)),
        height(reach_of(s.out_height, s.stride_height, s.kernel_height, s.dilation_height)),
        k(s.kernel_height * s.kernel_width * pixel) {}
  size_t row() const { return width * pixel; }
};

size_t maxima_of(const ConvShape& s, const Kernels& kernels) { return pieces_of(s.in_channels, lanes_of(kernels)) * s.in_height; }

struct Room {
  float* scales;
  float* maxima;
  uint8_t* bytes;
  Room(const ConvShape& s, void* at, const Kernels& kernels)
      : scales(static_cast<float*>(at)),
        maxima(scales + rows_of_tile),
        bytes(reinterpret_cast<uint8_t*>(maxima + pieces_of(maxima_of(s, kernels), rows_of_tile) * rows_of_tile)) {}
};

// One image, blocked.
struct Image {
  const ConvShape& s;
  const float* in;
  const Picture& picture;
  size_t lanes;

  PixelRow row(size_t block, size_t y, size_t width) const {
    return {in + static_cast<ptrdiff_t>(block) * picture.block + static_cast<ptrdiff_t>(y) * picture.row, width,
            std::min(lanes, s.in_channels - block * lanes)};
  }
};

bool find_scale(const Image& image, const Room& room, const Run& run) {
  const size_t rows = maxima_of(image.s, run.kernels);
  const size_t in_piece = rows_in_piece(rows, image.s.in_width * image.lanes, copied_floats_in_piece, run.threads());
  const bool all = share(run, pieces_of(rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, rows); ++i)
      room.maxima[i] = run.kernels.largest_of_pixels(image.row(i / image.s.in_height, i % image.s.in_height, image.s.in_width));
  });
  float top = 0;
  for (size_t i = 0; i < rows; ++i) top = std::max(top, room.maxima[i]);
  for (size_t i = 0; i < rows_of_tile; ++i) room.scales[i] = top / 127.0f;
  return all;
}

// Rows of the padded picture, as bytes.
bool round_picture(const Image& image, const Bytes& bytes, const Room& room, const Run& run) {
  const ConvShape& s = image.s;
  const float scale = room.scales[0] > 0 ? 1.0f / room.scales[0] : 0.0f;
  const size_t blocks = pieces_of(s.in_channels, image.lanes), columns = std::min(s.in_width, bytes.width - s.pad_left);
  const size_t in_piece = rows_in_piece(bytes.height, bytes.row() / 4, copied_floats_in_piece, run.threads());
  return share(run, pieces_of(bytes.height, in_piece), [&](size_t index, int) {
    for (size_t y = index * in_piece; y < std::min((index + 1) * in_piece, bytes.height); ++y) {
      uint8_t* to = room.bytes + y * bytes.row();
      const bool inside = y >= s.pad_top && y - s.pad_top < s.in_height;
      if (!inside || s.pad_left > 0 || columns < bytes.width) std::memset(to, zero, bytes.row());
      for (size_t block = 0; inside && block < blocks; ++block)
        run.kernels.quantize_pixels(image.row(block, y - s.pad_top, columns), scale,
                                    to + s.pad_left * bytes.pixel + block * image.lanes,
                                    static_cast<ptrdiff_t>(bytes.pixel));
    }
  });
}

struct Job {
  const ConvShape& s;
  const Bytes& bytes;
  const LayoutInt8& layout;
  const PackedInt8<const std::byte>& packed;
  const Room& room;
  const Epilogue& epilogue;
  const float* residual;  // of the image, or null
  float* out;
  const Picture& out_picture;
  size_t rows, columns;  // of the output, one row when all pixels lie in line
  TileInt8Kernel kernel;

  // Tiles first .. last of a panel.
  void piece(size_t panel, size_t first, size_t last, const Parts& parts) const {
    const size_t vectors = layout.panels.size(panel), begin = layout.panels.begin(panel), column = begin * layout.lanes;
    TileInt8 tile{};
    tile.lines = s.kernel_height;
    tile.quads = s.kernel_width * bytes.pixel / 4;
    tile.a_row = static_cast<ptrdiff_t>(s.stride_width * bytes.pixel);
    tile.line = static_cast<ptrdiff_t>(s.dilation_height * bytes.row());
    tile.b = packed.panels + column * 4 * layout.quads;
    tile.b_sums = packed.sums + column;
    tile.b_scales = packed.scales + column;
    tile.a_scales = room.scales;
    tile.bias = packed.bias + column;
    tile.c_row = out_picture.pixel;
    tile.c_block = out_picture.block;
    tile.width = vectors * layout.lanes;
    tile.residual_row = epilogue.residual_picture.pixel;
    tile.residual_block = epilogue.residual_picture.block;
    tile.activation = epilogue.activation;
    tile.low = epilogue.low;
    tile.high = epilogue.high;
    const auto block = static_cast<ptrdiff_t>(begin);
    for (size_t i = first; i < last; ++i) {
      const size_t y = i / parts.count, x = parts.begin(i % parts.count);
      const auto row = static_cast<ptrdiff_t>(y), pixel = static_cast<ptrdiff_t>(x);
      tile.a = room.bytes + y * s.stride_height * bytes.row() + x * s.stride_width * bytes.pixel;
      tile.c = out + block * out_picture.block + row * out_picture.row + pixel * out_picture.pixel;
      if (residual != nullptr)
        tile.residual = residual + block * tile.residual_block + row * epilogue.residual_picture.row + pixel * tile.residual_row;
      kernel(static_cast<int>(vectors), static_cast<int>(parts.size(i % parts.count)), tile);
    }
  }
};

bool run_image(const Job& job, const Run& run) {
  const LayoutInt8& layout = job.layout;
  const auto parts_of = [&](size_t panel) { return Parts(job.columns, tile_rows(run.kernels, layout.panels.size(panel))); };
  const double flops = 0.5 * static_cast<double>(job.rows * job.columns * job.bytes.k) *
                       static_cast<double>(layout.panels.size(0) * layout.lanes);
  const size_t chunks = chunks_of(job.rows * parts_of(0).count, layout.panels.count, flops, run.threads());
  return share(run, layout.panels.count * chunks, [&](size_t index, int) {
    const size_t panel = index / chunks, chunk = index % chunks;
    const Parts parts = parts_of(panel);
    const size_t tiles = job.rows * parts.count;
    job.piece(panel, chunk * tiles / chunks, (chunk + 1) * tiles / chunks, parts);
  });
}

}  // namespace

bool supports_int8(const ConvShape& s) {
  return s.groups == 1 && s.dilation_width == 1 && Bytes(s).k <= int8_k_max;
}

size_t conv_int8_weights_bytes(const ConvShape& s, const Kernels& kernels) {
  return LayoutInt8(Bytes(s).k, s.out_channels, kernels).bytes();
}

void pack_conv_int8(const ConvShape& s, const int8_t* weights, const float* scales, const float* bias, void* packed,
                    const Kernels& kernels) {
  const Bytes bytes(s);
  pack_columns(bias, bytes.k, s.out_channels, packed, kernels, [=](size_t j) { return scales[j]; },
               [&](size_t j, size_t p) {
                 const size_t channel = p % bytes.pixel, tap = p / bytes.pixel;  // taps in the order of the weights
                 if (channel >= s.in_channels) return int8_t{0};
                 return weights[(j * s.in_channels + channel) * s.kernel_height * s.kernel_width + tap];
               });
}

size_t conv_int8_workspace_bytes(const ConvShape& s, const Kernels& kernels) {
  const Bytes bytes(s);
  const size_t maxima = pieces_of(maxima_of(s, kernels), rows_of_tile) * rows_of_tile;
  return (rows_of_tile + maxima) * sizeof(float) + bytes.height * bytes.row();
}

bool convolve_int8(const ConvShape& s, const float* in, const Picture& in_picture, const void* packed,
                   const Epilogue& epilogue, float* out, const Picture& out_picture, void* workspace, const Run& run) {
  const Bytes bytes(s);
  const LayoutInt8 layout(bytes.k, s.out_channels, run.kernels);
  const PackedInt8<const std::byte> from(static_cast<const std::byte*>(packed), layout);
  const Room room(s, workspace, run.kernels);
  const Picture& residual = epilogue.residual_picture;
  const auto width = static_cast<ptrdiff_t>(s.out_width);
  const bool in_line = s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1 &&
                       bytes.width == s.out_width && out_picture.row == width * out_picture.pixel &&
                       (epilogue.residual == nullptr || residual.row == width * residual.pixel);
  for (size_t i = 0; i < s.batch; ++i) {
    const auto at = static_cast<ptrdiff_t>(i);
    const Image image{s, in + at * in_picture.image, in_picture, lanes_of(run.kernels)};
    if (!find_scale(image, room, run) || !round_picture(image, bytes, room, run)) return false;
    const Job job{s, bytes, layout, from, room, epilogue,
                  epilogue.residual == nullptr ? nullptr : epilogue.residual + at * residual.image,
                  out + at * out_picture.image, out_picture,
                  in_line ? 1 : s.out_height, in_line ? s.out_height * s.out_width : s.out_width,
                  tile_int8_of(run.kernels)};
    if (!run_image(job, run)) return false;
  }
  return true;
}

}  // namespace shoal
