// Convolution over blocked channels, and over the plain few of a first layer, by register tiles along output rows.
//
// Weights are packed as panels (group, panel, k, vectors * lanes) with k in the order in which the tile reads pixels:
// direct (block of in-channels, kernel row, kernel column, channel), planar (channel, kernel row, kernel column). The
// padded input is copied once into the workspace, so that no tile knows of borders. k runs in passes that keep a panel's
// weights in the second-level cache while the tiles of a piece go over them; a picture that has no room beside them is
// taken part by part.
#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t pass_bytes = 96 * 1024;   // of weights in a pass; a second-level cache has room for two
constexpr size_t near_floats = 40 * 1024;  // of a picture that a second-level cache keeps beside them

struct Layout {
  size_t lanes, in_group, out_group;   // channels a group
  size_t in_blocks, k;                 // blocks of a group; length of the reduction
  Parts panels;                        // of a group's out-channels
  size_t padded_height, padded_width;  // of the input that is read
  bool planar, pads, merges;

  Layout(const Convolution& conv, const Kernels& kernels)
      : lanes(static_cast<size_t>(kernels.lanes)),
        in_group(conv.shape.in_channels / conv.shape.groups),
        out_group(conv.shape.out_channels / conv.shape.groups),
        in_blocks(conv.algorithm == ConvAlgorithm::planar ? in_group : pieces_of(in_group, lanes)),
        k(in_group * conv.shape.kernel_height * conv.shape.kernel_width),
        panels(panels_of(out_group, kernels)),
        padded_height(reach_of(conv.shape.out_height, conv.shape.stride_height, conv.shape.kernel_height,
                               conv.shape.dilation_height)),
        padded_width(reach_of(conv.shape.out_width, conv.shape.stride_width, conv.shape.kernel_width,
                              conv.shape.dilation_width)),
        planar(conv.algorithm == ConvAlgorithm::planar) {
    const ConvShape& s = conv.shape;
    pads = s.pad_top > 0 || s.pad_left > 0 || padded_height > s.in_height || padded_width > s.in_width;
    merges = s.kernel_height * s.kernel_width * s.stride_height * s.stride_width == 1 && !pads;
  }

  size_t pixel_floats() const { return planar ? 1 : lanes; }
  size_t out_blocks() const { return panels.whole; }
  Picture padded() const {
    const auto width = static_cast<ptrdiff_t>(padded_width * pixel_floats());
    const auto block = static_cast<ptrdiff_t>(padded_height) * width;
    return {0, block, width, static_cast<ptrdiff_t>(pixel_floats())};
  }
};

// One image: tiles over (output row, part of a row), in pieces of neighbours.
struct Job {
  const Convolution& conv;
  const Layout& layout;
  const Kernels& kernels;
  const float* in;
  Picture in_picture;
  const float* packed;
  const Epilogue& epilogue;
  const float* residual;
  float* out;
  Picture out_picture;
  size_t rows, columns;  // of the output, one row when all pixels lie in line

  size_t blocks_in_pass(size_t vectors) const {
    const ConvShape& s = conv.shape;
    const size_t of_block =
        (layout.planar ? 1 : layout.lanes) * s.kernel_height * s.kernel_width * vectors * layout.lanes * sizeof(float);
    return std::max<size_t>(1, pass_bytes / of_block);
  }

  Reach reach(size_t blocks, bool last) const {
    const ConvShape& s = conv.shape;
    const auto line = static_cast<ptrdiff_t>(s.dilation_height) * in_picture.row;
    const auto tap = static_cast<ptrdiff_t>(s.dilation_width) * in_picture.pixel;
    if (layout.planar && s.dilation_width == 1 && in_picture.pixel == 1)
      return {blocks, 1, s.kernel_height, s.kernel_width, s.kernel_width, in_picture.block, 0, line, 0};
    if (layout.planar) return {blocks, s.kernel_height, s.kernel_width, 1, 1, in_picture.block, line, tap, 0};
    const size_t tail = layout.in_group - (layout.in_blocks - 1) * layout.lanes;
    const size_t last_run = last ? tail : layout.lanes;
    if (s.kernel_height * s.kernel_width == 1) return reach_over(blocks, layout.lanes, last_run, in_picture.block);
    return {blocks, s.kernel_height, s.kernel_width, layout.lanes, last_run, in_picture.block, line, tap, 0};
  }

  void piece(size_t group, size_t panel, size_t first, size_t last) const;
};

void Job::piece(size_t group, size_t panel, size_t first, size_t last) const {
  const ConvShape& s = conv.shape;
  const size_t vectors = layout.panels.size(panel), width = vectors * layout.lanes;
  const Parts parts(columns, tile_rows(kernels, vectors));
  const auto out_block = static_cast<ptrdiff_t>(group * layout.out_blocks() + layout.panels.begin(panel));
  const float* of_panel = packed + s.groups * layout.out_blocks() * layout.lanes +
                          (group * layout.out_blocks() + layout.panels.begin(panel)) * layout.lanes * layout.k;
  const size_t in_pass = blocks_in_pass(vectors);
  const size_t k_of_block = (layout.planar ? 1 : layout.lanes) * s.kernel_height * s.kernel_width;

  Tile tile{};
  tile.a_row = static_cast<ptrdiff_t>(s.stride_width) * in_picture.pixel;
  tile.b_step = static_cast<ptrdiff_t>(width);
  tile.c_row = out_picture.pixel;
  tile.c_block = out_picture.block;
  tile.width = width;
  tile.bias = packed + static_cast<size_t>(out_block) * layout.lanes;
  tile.residual_row = epilogue.residual_picture.pixel;
  tile.residual_block = epilogue.residual_picture.block;
  tile.activation = epilogue.activation;
  tile.low = epilogue.low;
  tile.high = epilogue.high;
  for (size_t begin = 0; begin < layout.in_blocks; begin += in_pass) {
    const size_t blocks = std::min(in_pass, layout.in_blocks - begin);
    tile.finish = begin + blocks == layout.in_blocks;
    tile.accumulate = begin > 0;
    tile.reach = reach(blocks, tile.finish);
    tile.b = of_panel + begin * k_of_block * width;
    const auto in_block = static_cast<ptrdiff_t>(group * layout.in_blocks + begin);
    for (size_t i = first; i < last; ++i) {
      const auto row = static_cast<ptrdiff_t>(i / parts.count);
      const auto column = static_cast<ptrdiff_t>(parts.begin(i % parts.count));
      tile.a = in + in_block * in_picture.block + row * static_cast<ptrdiff_t>(s.stride_height) * in_picture.row +
               column * tile.a_row;
      tile.c = out + out_block * out_picture.block + row * out_picture.row + column * out_picture.pixel;
      if (residual != nullptr)
        tile.residual = residual + out_block * tile.residual_block + row * epilogue.residual_picture.row +
                        column * tile.residual_row;
      kernels.tile(static_cast<int>(vectors), static_cast<int>(parts.size(i % parts.count)), tile);
    }
  }
}

// Into how many parts a picture is cut, each for all panels in turn, where that brings less from afar than the whole
// picture for every panel does; 1 where it does not.
size_t picture_parts(const Layout& layout, const Picture& picture) {
  const size_t in_floats = layout.in_blocks * static_cast<size_t>(picture.block);
  const size_t weights = layout.k * layout.out_blocks() * layout.lanes;
  const size_t parts = pieces_of(in_floats, near_floats);
  return in_floats + weights * parts < in_floats * layout.panels.count + weights ? parts : 1;
}

bool run_image(const Job& job, const Run& run) {
  const Layout& layout = job.layout;
  const auto tiles_of = [&](size_t panel) {
    return job.rows * pieces_of(job.columns, tile_rows(run.kernels, layout.panels.size(panel)));
  };
  const size_t panels = job.conv.shape.groups * layout.panels.count;
  const double flops = 2.0 * static_cast<double>(job.rows * job.columns * layout.k) *
                       static_cast<double>(layout.panels.size(0) * layout.lanes);
  const size_t by_cache = picture_parts(layout, job.in_picture);
  size_t chunks = chunks_of(tiles_of(0), panels, flops, run.threads());
  if (by_cache > 1) chunks = std::max(chunks, std::min(tiles_of(0), by_cache));
  const size_t of_group = chunks * layout.panels.count;
  return share(run, job.conv.shape.groups * of_group, [&](size_t index, int) {
    const size_t group = index / of_group, at = index % of_group;
    const size_t panel = by_cache > 1 ? at % layout.panels.count : at / chunks;
    const size_t chunk = by_cache > 1 ? at / layout.panels.count : at % chunks;
    const size_t tiles = tiles_of(panel);
    job.piece(group, panel, chunk * tiles / chunks, (chunk + 1) * tiles / chunks);
  });
}

}  // namespace

bool supports_direct(const Convolution& conv, const Kernels& kernels) {
  const ConvShape& s = conv.shape;
  const auto lanes = static_cast<size_t>(kernels.lanes);
  if (conv.algorithm == ConvAlgorithm::planar) return s.groups == 1;
  return s.groups == 1 || (s.in_channels / s.groups % lanes == 0 && s.out_channels / s.groups % lanes == 0);
}

size_t direct_weights_floats(const Convolution& conv, const Kernels& kernels) {
  const Layout layout(conv, kernels);
  return conv.shape.groups * layout.out_blocks() * layout.lanes * (layout.k + 1);
}

size_t direct_workspace_floats(const Convolution& conv, const Kernels& kernels) {
  const Layout layout(conv, kernels);
  if (!layout.pads) return 0;
  return conv.shape.groups * layout.in_blocks * static_cast<size_t>(layout.padded().block);
}

void pack_direct(const Convolution& conv, const float* weights, const float* bias, float* packed,
                 const Kernels& kernels) {
  const Layout layout(conv, kernels);
  const ConvShape& s = conv.shape;
  const size_t taps = s.kernel_height * s.kernel_width, of_group = layout.out_blocks() * layout.lanes;
  for (size_t group = 0; group < s.groups; ++group)
    for (size_t i = 0; i < of_group; ++i)
      packed[group * of_group + i] = bias != nullptr && i < layout.out_group ? bias[group * layout.out_group + i] : 0.0f;
  float* to = packed + s.groups * of_group;
  const size_t run = layout.planar ? 1 : layout.lanes;
  for (size_t panel = 0; panel < s.groups * layout.panels.count; ++panel) {
    const size_t group = panel / layout.panels.count, at = panel % layout.panels.count;
    const size_t first = layout.panels.begin(at) * layout.lanes, width = layout.panels.size(at) * layout.lanes;
    for (size_t block = 0; block < layout.in_blocks; ++block)
      for (size_t tap = 0; tap < taps; ++tap)
        for (size_t i = block * run; i < std::min((block + 1) * run, layout.in_group); ++i)
          for (size_t o = first; o < first + width; ++o)
            *to++ = o < layout.out_group
                        ? weights[((group * layout.out_group + o) * layout.in_group + i) * taps + tap]
                        : 0.0f;
  }
}

bool convolve_direct(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                     const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                     const Run& run) {
  const Layout layout(conv, run.kernels);
  const ConvShape& s = conv.shape;
  const auto width = static_cast<ptrdiff_t>(s.out_width);
  const Picture& residual = epilogue.residual_picture;
  const bool in_line = layout.merges && in_picture.row == width * in_picture.pixel &&
                       out_picture.row == width * out_picture.pixel &&
                       (epilogue.residual == nullptr || residual.row == width * residual.pixel);
  for (size_t image = 0; image < s.batch; ++image) {
    const auto i = static_cast<ptrdiff_t>(image);
    const float* from = in + i * in_picture.image;
    if (layout.pads && !pad_picture(s, from, in_picture, workspace, layout.padded(), s.groups * layout.in_blocks,
                                    layout.padded_height, layout.padded_width, layout.pixel_floats(), run))
      return false;
    const Job job{conv, layout, run.kernels, layout.pads ? workspace : from,
                  layout.pads ? layout.padded() : in_picture, packed, epilogue,
                  epilogue.residual == nullptr ? nullptr : epilogue.residual + i * residual.image,
                  out + i * out_picture.image, out_picture,
                  in_line ? 1 : s.out_height, in_line ? s.out_height * s.out_width : s.out_width};
    if (!run_image(job, run)) return false;
  }
  return true;
}

}  // namespace shoal
