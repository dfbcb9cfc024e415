// Pooling of pictures, plain or blocked, float32: what a session calls. Global pooling has the picture's size as kernel.
//
// Nothing is allocated and nothing is thrown. A window that lies wholly in the padding makes -inf (maximum) or 0 (average).
#pragma once

#include "kernels/convolution.h"

namespace shoal {

struct Pooling {
  bool maximum;             // else the average
  bool blocked;             // channels in blocks of lanes, else plain
  bool count_pads = false;  // an average divides by the window with its padding, as far as the padded picture reaches
  size_t batch, channels, in_height, in_width, out_height, out_width;
  size_t kernel_height, kernel_width, stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  size_t pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
};

bool pool_picture(const Pooling& pooling, const float* in, const Picture& in_picture, float* out,
                  const Picture& out_picture, const Run& run);

}  // namespace shoal
