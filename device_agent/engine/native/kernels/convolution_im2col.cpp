// Convolution of plain pictures as a matrix product: out (channel, pixel) = weights (channel, k) @ patches (k, pixel).
//
// Takes every shape: groups, strides, dilations, any pads. Patches are written panel by panel into a worker's own room,
// a pass of k at a time, and used by all out-channels of the group while they are near. A 1 x 1 convolution reads the
// picture where it lies.
#include <cstring>

#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t pass_floats = 8 * 1024;  // of patches in a pass

struct Layout {
  size_t in_group, out_group, k, pitch, bias;  // floats from one out-channel's weights to the next; of the biases
  size_t pixels, width, depth;                 // of the output; of a panel; k in a pass

  Layout(const Convolution& conv)
      : in_group(conv.shape.in_channels / conv.shape.groups),
        out_group(conv.shape.out_channels / conv.shape.groups),
        k(in_group * conv.shape.kernel_height * conv.shape.kernel_width),
        pitch(k % 512 == 0 ? k + 16 : k),  // rows that are 2 KiB apart would share the cache's sets
        bias((conv.shape.out_channels + 15) / 16 * 16),
        pixels(conv.shape.out_height * conv.shape.out_width),
        width(0), depth(0) {}
  Layout(const Convolution& conv, const Kernels& kernels) : Layout(conv) {
    const auto lanes = static_cast<size_t>(kernels.lanes);
    width = std::min(pieces_of(pixels, lanes), static_cast<size_t>(kernels.tile_vectors)) * lanes;
    depth = std::min(k, std::max<size_t>(pass_floats / width, 1));
  }
};

struct Walk {
  const ConvShape& s;
  const Picture& picture;
  const float* in;  // of the group

  // The patch of (channel, kernel row, kernel column) for output row y, columns x .. x + count.
  void line(size_t k, size_t y, size_t x, size_t count, float* to) const {
    const size_t tap_x = k % s.kernel_width, tap_y = k / s.kernel_width % s.kernel_height;
    const size_t channel = k / s.kernel_width / s.kernel_height;
    const auto row = static_cast<ptrdiff_t>(y * s.stride_height + tap_y * s.dilation_height) -
                     static_cast<ptrdiff_t>(s.pad_top);
    if (row < 0 || row >= static_cast<ptrdiff_t>(s.in_height)) {
      std::memset(to, 0, count * sizeof(float));
      return;
    }
    const auto step = static_cast<ptrdiff_t>(s.stride_width), wide = static_cast<ptrdiff_t>(s.in_width);
    const auto first = static_cast<ptrdiff_t>(x * s.stride_width + tap_x * s.dilation_width) -
                       static_cast<ptrdiff_t>(s.pad_left);
    const float* from = in + static_cast<ptrdiff_t>(channel) * picture.block + row * picture.row;
    const auto n = static_cast<ptrdiff_t>(count);
    const ptrdiff_t begin = first >= 0 ? 0 : std::min(n, (-first + step - 1) / step);
    const ptrdiff_t end = std::clamp(wide <= first ? ptrdiff_t{0} : (wide - first + step - 1) / step, begin, n);
    std::memset(to, 0, static_cast<size_t>(begin) * sizeof(float));
    if (step == 1 && picture.pixel == 1) {
      if (end > begin) std::memcpy(to + begin, from + first + begin, static_cast<size_t>(end - begin) * sizeof(float));
    } else {
      for (ptrdiff_t j = begin; j < end; ++j) to[j] = from[(first + j * step) * picture.pixel];
    }
    std::memset(to + end, 0, static_cast<size_t>(n - end) * sizeof(float));
  }

  // Patches k0 .. k0 + depth of pixels first .. first + count -> to (depth, width), zeros behind `count`.
  void panel(size_t k0, size_t depth, size_t first, size_t count, size_t width, float* to) const {
    for (size_t k = k0; k < k0 + depth; ++k, to += width) {
      for (size_t done = 0; done < count;) {
        const size_t pixel = first + done, x = pixel % s.out_width;
        const size_t part = std::min(count - done, s.out_width - x);
        line(k, pixel / s.out_width, x, part, to + done);
        done += part;
      }
      std::memset(to + count, 0, (width - count) * sizeof(float));
    }
  }
};

// The same where pixels lie in line and each is its own patch.
void copy_in_line(const float* in, ptrdiff_t step, size_t depth, size_t count, size_t width, float* to) {
  for (size_t k = 0; k < depth; ++k, in += step, to += width) {
    std::memcpy(to, in, count * sizeof(float));
    std::memset(to + count, 0, (width - count) * sizeof(float));
  }
}

struct Job {
  const Convolution& conv;
  const Layout& layout;
  const Kernels& kernels;
  const float* packed;
  const Epilogue& epilogue;

  Parts parts() const {
    return {layout.out_group, tile_rows(kernels, layout.width / static_cast<size_t>(kernels.lanes))};
  }

  // A pass over pixels first .. first + count, for some of the group's out-channels. Lines of patches are `step` apart.
  void pass(size_t group, size_t begin, size_t end, size_t k0, size_t depth, size_t count, const float* patches,
            ptrdiff_t step, float* out, const Picture& out_picture, const float* residual) const {
    const size_t vectors = layout.width / static_cast<size_t>(kernels.lanes);
    const Parts parts = this->parts();
    Tile tile{};
    tile.reach = {1, 1, 1, depth, depth, 0, 0, 0, 0};
    tile.a_row = static_cast<ptrdiff_t>(layout.pitch);
    tile.b = patches;
    tile.b_step = step;
    tile.c_row = out_picture.block;
    tile.c_block = kernels.lanes;
    tile.width = count;
    tile.accumulate = k0 > 0;
    tile.finish = k0 + depth == layout.k;
    tile.residual_row = epilogue.residual_picture.block;
    tile.residual_block = kernels.lanes;
    tile.activation = epilogue.activation;
    tile.low = epilogue.low;
    tile.high = epilogue.high;
    for (size_t i = begin; i < end; ++i) {
      const size_t channel = group * layout.out_group + parts.begin(i);
      tile.a = packed + layout.bias + channel * layout.pitch + k0;
      tile.c = out + static_cast<ptrdiff_t>(channel) * out_picture.block;
      tile.row_bias = packed + channel;
      if (residual != nullptr) tile.residual = residual + static_cast<ptrdiff_t>(channel) * tile.residual_row;
      kernels.tile(static_cast<int>(vectors), static_cast<int>(parts.size(i)), tile);
    }
  }
};

}  // namespace

size_t im2col_weights_floats(const Convolution& conv, const Kernels&) {
  const Layout layout(conv);
  return layout.bias + conv.shape.out_channels * layout.pitch;
}

size_t im2col_workspace_floats(const Convolution& conv, const Kernels& kernels, int threads) {
  const Layout layout(conv, kernels);
  return layout.depth * layout.width * static_cast<size_t>(threads);
}

void pack_im2col(const Convolution& conv, const float* weights, const float* bias, float* packed) {
  const Layout layout(conv);
  for (size_t o = 0; o < layout.bias; ++o)
    packed[o] = bias != nullptr && o < conv.shape.out_channels ? bias[o] : 0.0f;
  for (size_t o = 0; o < conv.shape.out_channels; ++o) {
    float* to = packed + layout.bias + o * layout.pitch;
    std::memcpy(to, weights + o * layout.k, layout.k * sizeof(float));
    std::memset(to + layout.k, 0, (layout.pitch - layout.k) * sizeof(float));
  }
}

bool convolve_im2col(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                     const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                     const Run& run) {
  const Layout layout(conv, run.kernels);
  const ConvShape& s = conv.shape;
  const Job job{conv, layout, run.kernels, packed, epilogue};
  const size_t panels = pieces_of(layout.pixels, layout.width);
  // A pixel is its own patch, and pixels lie in line: whole panels need no copy.
  const bool in_place = s.kernel_height * s.kernel_width * s.stride_height * s.stride_width == 1 && s.pad_top == 0 &&
                        s.pad_left == 0 && s.out_height == s.in_height && s.out_width == s.in_width &&
                        in_picture.pixel == 1 && in_picture.row == static_cast<ptrdiff_t>(s.in_width);
  // Few panels for the threads: each is shared out by its out-channels, and its patches are written for each chunk.
  const size_t all = s.batch * s.groups * panels, units = job.parts().count, wanted = 2 * static_cast<size_t>(run.threads());
  const size_t chunks = run.threads() == 1 || all >= wanted ? 1 : std::min(units, pieces_of(wanted, all));
  return share(run, all * chunks, [&](size_t piece, int worker) {
    const size_t index = piece / chunks, chunk = piece % chunks;
    const size_t begin = chunk * units / chunks, end = (chunk + 1) * units / chunks;
    const size_t group = index / panels % s.groups, first = index % panels * layout.width;
    const auto image = static_cast<ptrdiff_t>(index / panels / s.groups);
    const size_t count = std::min(layout.width, layout.pixels - first);
    const auto pixel = static_cast<ptrdiff_t>(first);
    const Walk walk{s, in_picture,
                    in + image * in_picture.image + static_cast<ptrdiff_t>(group * layout.in_group) * in_picture.block};
    float* patches = workspace + static_cast<size_t>(worker) * layout.depth * layout.width;
    const float* residual =
        epilogue.residual == nullptr ? nullptr : epilogue.residual + image * epilogue.residual_picture.image + pixel;
    float* to = out + image * out_picture.image + pixel;
    if (in_place && count == layout.width)
      return job.pass(group, begin, end, 0, layout.k, count, walk.in + pixel, in_picture.block, to, out_picture, residual);
    for (size_t k0 = 0; k0 < layout.k; k0 += layout.depth) {
      const size_t depth = std::min(layout.depth, layout.k - k0);
      if (in_place) {
        copy_in_line(walk.in + static_cast<ptrdiff_t>(k0) * in_picture.block + pixel, in_picture.block, depth, count,
                     layout.width, patches);
      } else {
        walk.panel(k0, depth, first, count, layout.width, patches);
      }
      job.pass(group, begin, end, k0, depth, count, patches, static_cast<ptrdiff_t>(layout.width), to, out_picture, residual);
    }
  });
}

}  // namespace shoal
