// What tasks do with arrays beside the operators of models: comparisons, choices, order, and functions of one number.
//
// Rules: none of these is in a model file, so they are no part of the op set. Each makes a new, contiguous tensor.
// Comparisons give uint8, 1 for true; not-a-number is equal to nothing and comes last in an order.
#pragma once

#include <string>

#include "tensor/tensor.h"

namespace shoal {

Tensor mapped(const std::string& what, const Tensor& x);                          // float32 only
Tensor compared(const std::string& how, const Tensor& a, const Tensor& b);        // broadcasting; one dtype
Tensor power(const Tensor& a, const Tensor& b);                                   // broadcasting; float32 only
Tensor chosen(const Tensor& condition, const Tensor& a, const Tensor& b);         // broadcasting; a and b of one dtype
Tensor taken(const Tensor& x, const Tensor& indices, int64_t axis);               // indices (n,) int64; < 0 from the end
Tensor summed_up(const Tensor& x, int64_t axis);                                  // each element and all before it
Tensor order_of(const Tensor& x, int64_t axis, bool descending);                  // int64, stable

}  // namespace shoal
