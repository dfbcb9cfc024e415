// Commands that are kernels of their own (kernels/*.h): packed products, convolutions, layouts, pooling, normalisation.
//
// Rules: a command is checked against its operands when a plan is read, so that a kernel that is called cannot reach out of
// them; what it needs beyond its operands (packed weights, workspace) are operands too, planned like all others.
// Attributes are words; each command's are listed where it is read. Layouts are the kernels' own: plain is NCHW, blocked
// keeps channels in blocks of as many as a vector has lanes.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/run.h"
#include "tensor/tensor.h"

namespace shoal {

namespace plan {
constexpr int64_t convolve = 201, pack_convolution = 202, to_blocked = 203, to_plain = 204, pack_right = 205,
                  product = 206, products = 207, pool_picture = 209, normalize = 210, chain = 211, attention = 212,
                  row_product = 213, pack_int8 = 214, product_int8 = 215, pack_strassen = 216, product_strassen = 217,
                  pack_conv_int8 = 218, convolve_int8 = 219;
}

using KernelCall = std::function<void(const Run&)>;

// The call of a command; ValueError when its attributes or operands cannot be. Null: no such command.
KernelCall kernel_call(int64_t id, std::span<const int64_t> words, const std::vector<Tensor>& inputs,
                       const std::vector<Tensor>& outputs, const Kernels& kernels, int threads);

// Floats of (packed weights, workspace) that a convolve, pack_convolution, product, pack_right or products needs;
// (-1, -1) when the kernels do not do it.
std::pair<int64_t, int64_t> kernel_floats(int64_t id, std::span<const int64_t> words, const Kernels& kernels, int threads);

}  // namespace shoal
