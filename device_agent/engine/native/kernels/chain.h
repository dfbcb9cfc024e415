// Chains of elementwise operations in one pass over memory, float32: what a session calls.
//
// A chain is a small program. Registers 0 .. inputs - 1 hold the inputs, each step writes one of the registers behind
// them, and the last step's register is the result. Every register is a run of `chain_run` floats that the first-level
// cache holds. All inputs are seen over three axes (outer, middle, inner) with steps of their own, 0 where they repeat; the
// result is contiguous. Nothing is allocated and nothing is thrown: `chain_fits` says first whether a chain can be run.
#pragma once

#include <span>

#include "kernels/chain_step.h"
#include "kernels/run.h"

namespace shoal {

constexpr size_t chain_run = 256;
constexpr size_t chain_inputs_max = 8;
constexpr size_t chain_steps_max = 16;

struct ChainInput {
  const float* at;
  ptrdiff_t outer, middle, inner;  // inner is 0 or 1
};

struct Chain {
  size_t outer, middle, inner;
  std::span<const ChainInput> inputs;
  std::span<const ChainStep> steps;
  float* out;
};

bool chain_fits(const Chain& chain);
bool run_chain(const Chain& chain, const Run& run);

}  // namespace shoal
