// Convolutions of pictures with 8-bit weights, each picture rounded to 8 bits as it comes: what a session calls.
//
// Pictures are blocked on both sides. A picture is rounded by its largest number into bytes, pixel by pixel with all channels
// beside each other, zeros around it; a kernel row of such a picture lies in line, so that nothing is copied for windows.
// Sums are exact in 32 bits. Nothing is allocated and nothing is thrown.
#pragma once

#include "kernels/convolution.h"
#include "kernels/matmul_int8.h"

namespace shoal {

// One group, columns of a kernel beside each other, no more products than 32 bits hold.
bool supports_int8(const ConvShape& shape);

size_t conv_int8_weights_bytes(const ConvShape& shape, const Kernels& kernels);
// weights (out_channels, in_channels, kernel_height, kernel_width), scales (out_channels), bias (out_channels) or null.
void pack_conv_int8(const ConvShape& shape, const int8_t* weights, const float* scales, const float* bias, void* packed,
                    const Kernels& kernels);

size_t conv_int8_workspace_bytes(const ConvShape& shape, const Kernels& kernels);
// out = activation(conv(in, weights) + bias + residual), both as rounded. False: cancelled, and `out` holds anything.
bool convolve_int8(const ConvShape& shape, const float* in, const Picture& in_picture, const void* packed,
                   const Epilogue& epilogue, float* out, const Picture& out_picture, void* workspace, const Run& run);

}  // namespace shoal
