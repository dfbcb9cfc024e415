// Depthwise convolution, each channel by itself: over blocks, where a lane is a channel, or over plain channels, where a
// "block" here is one channel and has one lane.
//
// Packed weights: bias (blocks, lanes), then (blocks, kernel row, kernel column, lanes). A piece is some rows of one block;
// where the input needs a border, its rows are copied with one into a worker's own room, which the first-level cache holds.
#include <cstring>

#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t room_floats = 8 * 1024;  // of padded rows that a piece wants

struct Layout {
  size_t lanes, blocks, taps, padded_height, padded_width, rows_in_piece, rows_read;
  bool pads;
  size_t slack = 0;  // floats behind a worker's rows

  Layout(const Convolution& conv, const Kernels& kernels)
      : lanes(conv.algorithm == ConvAlgorithm::depthwise_plain ? 1 : static_cast<size_t>(kernels.lanes)),
        blocks(pieces_of(conv.shape.in_channels, lanes)),
        taps(conv.shape.kernel_height * conv.shape.kernel_width) {
    const ConvShape& s = conv.shape;
    padded_height = reach_of(s.out_height, s.stride_height, s.kernel_height, s.dilation_height);
    padded_width = reach_of(s.out_width, s.stride_width, s.kernel_width, s.dilation_width);
    pads = s.pad_top > 0 || s.pad_left > 0 || padded_height > s.in_height || padded_width > s.in_width;
    if (lanes == 1) {  // whole vectors are read of a plain row, also of the last
      pads = true;
      slack = 2 * static_cast<size_t>(kernels.lanes);
    }
    const size_t wanted = std::max<size_t>(room_floats / (padded_width * lanes * s.stride_height), 4);
    rows_in_piece = std::min(wanted, s.out_height);
    rows_read = reach_of(rows_in_piece, s.stride_height, s.kernel_height, s.dilation_height);
  }
  size_t room() const { return pads ? rows_read * padded_width * lanes + slack : 0; }
};

}  // namespace

size_t depthwise_weights_floats(const Convolution& conv, const Kernels& kernels) {
  const Layout layout(conv, kernels);
  return layout.blocks * layout.lanes * (layout.taps + 1);
}

size_t depthwise_workspace_floats(const Convolution& conv, const Kernels& kernels, int threads) {
  return Layout(conv, kernels).room() * static_cast<size_t>(threads);
}

void pack_depthwise(const Convolution& conv, const float* weights, const float* bias, float* packed,
                    const Kernels& kernels) {
  const Layout layout(conv, kernels);
  const size_t padded = layout.blocks * layout.lanes;
  for (size_t c = 0; c < padded; ++c) {
    const bool real = c < conv.shape.in_channels;
    packed[c] = real && bias != nullptr ? bias[c] : 0.0f;
    for (size_t tap = 0; tap < layout.taps; ++tap)
      packed[padded + (c / layout.lanes * layout.taps + tap) * layout.lanes + c % layout.lanes] =
          real ? weights[c * layout.taps + tap] : 0.0f;
  }
}

bool convolve_depthwise(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                        const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                        const Run& run) {
  const Layout layout(conv, run.kernels);
  const ConvShape& s = conv.shape;
  const size_t chunks = pieces_of(s.out_height, layout.rows_in_piece);
  const Picture& residual = epilogue.residual_picture;
  return share(run, s.batch * layout.blocks * chunks, [&](size_t index, int worker) {
    const size_t first = index % chunks * layout.rows_in_piece;
    const size_t rows = std::min(layout.rows_in_piece, s.out_height - first), at = index / chunks % layout.blocks;
    const auto image = static_cast<ptrdiff_t>(index / chunks / layout.blocks), block = static_cast<ptrdiff_t>(at);
    const float* from = in + image * in_picture.image + block * in_picture.block;
    ptrdiff_t in_row = in_picture.row, pixel = in_picture.pixel;
    if (layout.pads) {
      float* room = workspace + static_cast<size_t>(worker) * layout.room();
      in_row = static_cast<ptrdiff_t>(layout.padded_width * layout.lanes);
      pixel = static_cast<ptrdiff_t>(layout.lanes);
      pad_rows(s, from, in_picture, room, in_row, first * s.stride_height,
               reach_of(rows, s.stride_height, s.kernel_height, s.dilation_height), layout.padded_width, layout.lanes);
      from = room;
    } else {
      from += static_cast<ptrdiff_t>(first * s.stride_height) * in_row;
    }
    DepthwiseLine d{};
    d.line = static_cast<ptrdiff_t>(s.dilation_height) * in_row;
    d.tap = static_cast<ptrdiff_t>(s.dilation_width) * pixel;
    d.step = static_cast<ptrdiff_t>(s.stride_width) * pixel;
    d.lines = s.kernel_height;
    d.taps = s.kernel_width;
    d.columns = s.out_width;
    d.weights = packed + (layout.blocks + at * layout.taps) * layout.lanes;
    d.bias = packed + at * layout.lanes;
    d.out_pixel = out_picture.pixel;
    d.residual_pixel = residual.pixel;
    d.activation = epilogue.activation;
    d.low = epilogue.low;
    d.high = epilogue.high;
    for (size_t i = 0; i < rows; ++i) {
      const auto row = static_cast<ptrdiff_t>(first + i);
      d.in = from + static_cast<ptrdiff_t>(i * s.stride_height) * in_row;
      d.out = out + image * out_picture.image + block * out_picture.block + row * out_picture.row;
      if (epilogue.residual != nullptr)
        d.residual = epilogue.residual + image * residual.image + block * residual.block + row * residual.row;
      (layout.lanes == 1 ? run.kernels.depthwise_plain_line : run.kernels.depthwise_line)(d);
    }
  });
}

}  // namespace shoal
