// Commands that multiply matrices: packed, of few rows, of 8 bits, Strassen's, many at once, attention.
#pragma once

#include "session/command_words.h"
#include "session/kernel_command.h"

namespace shoal {

// As kernel_call and kernel_floats (session/kernel_command.h) for the commands above; null for another.
KernelCall product_call(int64_t id, const Words& words, const std::vector<Tensor>& inputs,
                        const std::vector<Tensor>& outputs, const Kernels& kernels, int threads);
std::pair<int64_t, int64_t> product_floats(int64_t id, Words& words, const Kernels& kernels, int threads);

}  // namespace shoal
