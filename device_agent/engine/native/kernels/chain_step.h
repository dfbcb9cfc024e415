// One operation of a chain (kernels/chain.h): what a level of dispatch offers for it.
#pragma once

#include <cstdint>

#include "kernels/tile.h"

namespace shoal {

enum class ChainOp : uint8_t {
  add, subtract, multiply, divide, maximum, minimum,  // of a and b
  activate,                                           // a by `activation`, with low and high
  negative, absolute, square, square_root, reciprocal, logarithm,
  power,  // a to the `low`th, some quarters
};

constexpr int power_quarters_max = 16;

struct ChainStep {
  ChainOp op;
  uint8_t a, b, to;
  Activation activation = Activation::none;
  float low = 0, high = 0;
};

}  // namespace shoal
