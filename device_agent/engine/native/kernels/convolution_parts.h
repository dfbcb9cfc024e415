// What each algorithm of kernels/convolution.h offers to its dispatcher, and what several of them need.
#pragma once

#include "kernels/convolution.h"

namespace shoal {

// Input rows (or columns) that `out` rows of output reach over.
inline size_t reach_of(size_t out, size_t stride, size_t kernel, size_t dilation) {
  return out == 0 ? 0 : (out - 1) * stride + (kernel - 1) * dilation + 1;
}

constexpr size_t copied_floats_in_piece = 64 * 1024;

// Rows first .. first + rows of one block of the padded input, `width` pixels each, zeros where the input has none.
void pad_rows(const ConvShape& shape, const float* in, const Picture& in_picture, float* out, ptrdiff_t out_row,
              size_t first, size_t rows, size_t width, size_t pixel_floats);

// Copies `blocks` blocks of one image into a bigger picture of height x width pixels, zeros around. False: cancelled.
bool pad_picture(const ConvShape& shape, const float* in, const Picture& in_picture, float* out,
                 const Picture& out_picture, size_t blocks, size_t height, size_t width, size_t pixel_floats,
                 const Run& run);

bool supports_direct(const Convolution& conv, const Kernels& kernels);
size_t direct_weights_floats(const Convolution& conv, const Kernels& kernels);
size_t direct_workspace_floats(const Convolution& conv, const Kernels& kernels);
void pack_direct(const Convolution& conv, const float* weights, const float* bias, float* packed,
                 const Kernels& kernels);
bool convolve_direct(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                     const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                     const Run& run);

size_t depthwise_weights_floats(const Convolution& conv, const Kernels& kernels);
size_t depthwise_workspace_floats(const Convolution& conv, const Kernels& kernels, int threads);
void pack_depthwise(const Convolution& conv, const float* weights, const float* bias, float* packed,
                    const Kernels& kernels);
bool convolve_depthwise(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                        const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                        const Run& run);

size_t im2col_weights_floats(const Convolution& conv, const Kernels& kernels);
size_t im2col_workspace_floats(const Convolution& conv, const Kernels& kernels, int threads);
void pack_im2col(const Convolution& conv, const float* weights, const float* bias, float* packed);
bool convolve_im2col(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                     const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                     const Run& run);

bool supports_winograd(const Convolution& conv, const Kernels& kernels);
size_t winograd_weights_floats(const Convolution& conv, const Kernels& kernels);
size_t winograd_workspace_floats(const Convolution& conv, const Kernels& kernels);
void pack_winograd(const Convolution& conv, const float* weights, const float* bias, float* packed,
                   const Kernels& kernels);
bool convolve_winograd(const Convolution& conv, const float* in, const Picture& in_picture, const float* packed,
                       const Epilogue& epilogue, float* out, const Picture& out_picture, float* workspace,
                       const Run& run);

}  // namespace shoal
