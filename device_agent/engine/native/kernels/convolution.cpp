#include "kernels/convolution.h"

#include <cstring>

#include "kernels/convolution_parts.h"
#include "kernels/parallel.h"

namespace shoal {

size_t lanes_of(const Kernels& kernels) { return static_cast<size_t>(kernels.lanes); }

Picture plain_picture(size_t channels, size_t height, size_t width) {
  const auto row = static_cast<ptrdiff_t>(width), plane = static_cast<ptrdiff_t>(height) * row;
  return {static_cast<ptrdiff_t>(channels) * plane, plane, row, 1};
}

Picture blocked_picture(size_t channels, size_t height, size_t width, size_t lanes) {
  const auto pixel = static_cast<ptrdiff_t>(lanes), row = static_cast<ptrdiff_t>(width) * pixel;
  const auto block = static_cast<ptrdiff_t>(height) * row;
  return {static_cast<ptrdiff_t>(pieces_of(channels, lanes)) * block, block, row, pixel};
}

size_t blocked_floats(size_t batch, size_t channels, size_t height, size_t width, size_t lanes) {
  return batch * pieces_of(channels, lanes) * lanes * height * width;
}

bool supports(const Convolution& conv, const Kernels& kernels) {
  const ConvShape& s = conv.shape;
  if (s.groups == 0 || s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0 || s.in_channels == 0 ||
      s.kernel_height * s.kernel_width == 0)
    return false;
  switch (conv.algorithm) {
    case ConvAlgorithm::direct:
    case ConvAlgorithm::planar: return supports_direct(conv, kernels);
    case ConvAlgorithm::depthwise:
    case ConvAlgorithm::depthwise_plain: return s.groups == s.in_channels && s.groups == s.out_channels;
    case ConvAlgorithm::winograd: return supports_winograd(conv, kernels);
    case ConvAlgorithm::im2col: return true;
  }
  return false;
}

size_t weights_floats(const Convolution& conv, const Kernels& kernels) {
  switch (conv.algorithm) {
    case ConvAlgorithm::direct:
    case ConvAlgorithm::planar: return direct_weights_floats(conv, kernels);
    case ConvAlgorithm::depthwise:
    case ConvAlgorithm::depthwise_plain: return depthwise_weights_floats(conv, kernels);
    case ConvAlgorithm::winograd: return winograd_weights_floats(conv, kernels);
    case ConvAlgorithm::im2col: return im2col_weights_floats(conv, kernels);
  }
  return 0;
}

void pack_weights(const Convolution& conv, const float* weights, const float* bias, float* packed,
                  const Kernels& kernels) {
  switch (conv.algorithm) {
    case ConvAlgorithm::direct:
    case ConvAlgorithm::planar: return pack_direct(conv, weights, bias, packed, kernels);
    case ConvAlgorithm::depthwise:
    case ConvAlgorithm::depthwise_plain: return pack_depthwise(conv, weights, bias, packed, kernels);
    case ConvAlgorithm::winograd: return pack_winograd(conv, weights, bias, packed, kernels);
    case ConvAlgorithm::im2col: return pack_im2col(conv, weights, bias, packed);
  }
}

size_t workspace_floats(const Convolution& conv, const Kernels& kernels, int threads) {
  switch (conv.algorithm) {
    case ConvAlgorithm::direct:
    case ConvAlgorithm::planar: return direct_workspace_floats(conv, kernels);
    case ConvAlgorithm::depthwise:
    case ConvAlgorithm::depthwise_plain: return depthwise_workspace_floats(conv, kernels, threads);
    case ConvAlgorithm::winograd: return winograd_workspace_floats(conv, kernels);
    case ConvAlgorithm::im2col: return im2col_workspace_floats(conv, kernels, threads);
  }
  return 0;
}

// Of a depthwise one as if it were as quick as the others: it loads for every product.
static double flops_of(const Convolution& conv) {
  const ConvShape& s = conv.shape;
  const double results = static_cast<double>(s.batch * s.out_channels) * static_cast<double>(s.out_height * s.out_width);
  const size_t depth = s.in_channels / s.groups;
  return results * static_cast<double>(s.kernel_height * s.kernel_width * depth) * (depth == 1 ? 8.0 : 2.0);
}

bool convolve(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
              const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace, const Run& all) {
  const ConvShape& s = conv.shape;
  if (s.batch * s.out_channels * s.out_height * s.out_width == 0) return true;
  const Run run = flops_of(conv) < alone_flops ? all.alone() : all;
  switch (conv.algorithm) {
    case ConvAlgorithm::direct:
    case ConvAlgorithm::planar:
      return convolve_direct(conv, in, in_picture, packed, epilogue, out, out_picture, workspace, run);
    case ConvAlgorithm::depthwise:
    case ConvAlgorithm::depthwise_plain:
      return convolve_depthwise(conv, in, in_picture, packed, epilogue, out, out_picture, workspace, run);
    case ConvAlgorithm::winograd:
      return convolve_winograd(conv, in, in_picture, packed, epilogue, out, out_picture, workspace, run);
    case ConvAlgorithm::im2col:
      return convolve_im2col(conv, in, in_picture, packed, epilogue, out, out_picture, workspace, run);
  }
  return true;
}

void pad_rows(const ConvShape& shape, const float* in, const Picture& in_picture, float* out, ptrdiff_t out_row,
              size_t first, size_t rows, size_t width, size_t pixel_floats) {
  const size_t left = std::min(shape.pad_left, width), real = std::min(shape.in_width, width - left);
  const size_t right = width - left - real;
  for (size_t y = 0; y < rows; ++y) {
    float* to = out + static_cast<ptrdiff_t>(y) * out_row;
    const size_t row = first + y;
    if (row < shape.pad_top || row - shape.pad_top >= shape.in_height) {
      std::memset(to, 0, width * pixel_floats * sizeof(float));
      continue;
    }
    const float* from = in + static_cast<ptrdiff_t>(row - shape.pad_top) * in_picture.row;
    std::memset(to, 0, left * pixel_floats * sizeof(float));
    to += left * pixel_floats;
    if (in_picture.pixel == static_cast<ptrdiff_t>(pixel_floats)) {
      std::memcpy(to, from, real * pixel_floats * sizeof(float));
    } else {
      for (size_t x = 0; x < real; ++x)
        std::memcpy(to + x * pixel_floats, from + static_cast<ptrdiff_t>(x) * in_picture.pixel,
                    pixel_floats * sizeof(float));
    }
    std::memset(to + real * pixel_floats, 0, right * pixel_floats * sizeof(float));
  }
}

bool pad_picture(const ConvShape& shape, const float* in, const Picture& in_picture, float* out,
                 const Picture& out_picture, size_t blocks, size_t height, size_t width, size_t pixel_floats,
                 const Run& run) {
  const size_t rows_in_piece = std::max<size_t>(1, copied_floats_in_piece / (width * pixel_floats));
  const size_t chunks = pieces_of(height, rows_in_piece);
  return share(run, blocks * chunks, [&](size_t index, int) {
    const auto block = static_cast<ptrdiff_t>(index / chunks);
    const size_t first = index % chunks * rows_in_piece, rows = std::min(rows_in_piece, height - first);
    pad_rows(shape, in + block * in_picture.block, in_picture,
             out + block * out_picture.block + static_cast<ptrdiff_t>(first) * out_picture.row, out_picture.row, first,
             rows, width, pixel_floats);
  });
}

}  // namespace shoal
