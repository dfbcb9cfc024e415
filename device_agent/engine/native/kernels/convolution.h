// Convolutions of pictures, float32: what a session calls.
//
// How to call: fill a Convolution (shape and algorithm), ask `weights_floats` and pack the weights once with
// `pack_weights` (at load or when a session is made); ask `workspace_floats` for the threads that will run it; then
// `convolve`. Nothing is allocated inside and nothing is thrown: what `supports` says no to must not be called.
//
// Layouts. A *plain* picture is NCHW. A *blocked* one keeps channels in blocks of `lanes_of(kernels)`: (N, ceil(C / lanes),
// H, W, lanes). Lanes behind the last channel hold anything; nobody reads them as another channel's. Both are described by
// a Picture's steps, so that a picture may lie inside a bigger one: within its border of zeros, or among the channels of
// a concatenation. Every number counts floats; buffers should start at a multiple of 64 bytes.
//
// im2col and depthwise_plain write planes whose rows lie in line (Picture::pixel 1, row == width); the others take any
// steps. One Convolution may run in several threads at once, each with a workspace of its own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/run.h"
#include "kernels/tile.h"

namespace shoal {

enum class ConvAlgorithm : uint8_t {
  direct,     // blocked -> blocked; groups of whole blocks; 1 x 1 is a matrix product over pixels
  planar,     // plain -> blocked; for the few channels of a first layer; one group
  depthwise,  // blocked -> blocked; groups == in == out channels
  winograd,   // blocked -> blocked; stride and dilation 1, one group; `unit` x `unit` outputs a block
  im2col,     // plain -> plain; everything
  depthwise_plain,  // plain -> plain; groups == in == out channels
};
constexpr bool writes_plain(ConvAlgorithm algorithm) {
  return algorithm == ConvAlgorithm::im2col || algorithm == ConvAlgorithm::depthwise_plain;
}

struct ConvShape {
  size_t batch = 1, groups = 1;
  size_t in_channels, in_height, in_width;
  size_t out_channels, out_height, out_width;
  size_t kernel_height, kernel_width;
  size_t stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  size_t pad_top = 0, pad_left = 0;  // below and right: as many zeros as the output's size needs
};

struct Convolution {
  ConvShape shape;
  ConvAlgorithm algorithm;
  size_t unit = 4;  // winograd's: outputs of a tile on a side, 2, 4 or 6
};

// Where pixels lie: `block` from a block of channels (blocked) or a channel (plain) to the next.
struct Picture {
  ptrdiff_t image, block, row, pixel;
};

struct Epilogue {
  Activation activation = Activation::none;
  float low = 0, high = 0;
  const float* residual = nullptr;  // added before the activation; laid out as `residual_picture`
  Picture residual_picture{};
};

size_t lanes_of(const Kernels& kernels);
Picture plain_picture(size_t channels, size_t height, size_t width);
Picture blocked_picture(size_t channels, size_t height, size_t width, size_t lanes);
size_t blocked_floats(size_t batch, size_t channels, size_t height, size_t width, size_t lanes);

bool supports(const Convolution& conv, const Kernels& kernels);
size_t weights_floats(const Convolution& conv, const Kernels& kernels);
// weights (out_channels, in_channels / groups, kernel_height, kernel_width) and bias (out_channels) or null -> packed.
void pack_weights(const Convolution& conv, const float* weights, const float* bias, float* packed,
                  const Kernels& kernels);
size_t workspace_floats(const Convolution& conv, const Kernels& kernels, int threads);

// out = activation(conv(in, weights) + bias + residual). False: cancelled, and `out` holds anything.
bool convolve(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
              const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace, const Run& run);

// Between layouts: plain (N, C, H, W) <-> blocked. Lanes behind the last channel become zero.
bool to_blocked(const float* in, const Picture& in_picture, float* out, const Picture& out_picture, size_t batch,
                size_t channels, size_t height, size_t width, const Run& run);
bool to_plain(const float* in, const Picture& in_picture, float* out, const Picture& out_picture, size_t batch,
              size_t channels, size_t height, size_t width, const Run& run);

}  // namespace shoal
