// The words and operands of a command, each read within its bounds: what all readers of commands share.
//
// Rules: whatever cannot be is a ValueError before a kernel is called.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "kernels/tile.h"
#include "tensor/tensor.h"

namespace shoal {

// Reads words in order.
class Words {
 public:
  explicit Words(std::span<const int64_t> words) : words_(words) {}

  int64_t next(int64_t least, int64_t most);
  size_t size(int64_t least = 1);  // of one axis
  float number();                  // the bits of a double
  bool flag() { return next(0, 1) != 0; }
  void end() const;  // nothing may be left

 private:
  std::span<const int64_t> words_;
  size_t at_ = 0;
};

int64_t times(std::initializer_list<size_t> sizes);

// A contiguous operand of float32 with that many elements at least; `room` is one that is written.
const float* floats(const std::vector<Tensor>& tensors, size_t i, int64_t least);
float* room(const std::vector<Tensor>& tensors, size_t i, int64_t least);
inline size_t floats_for(size_t bytes) { return (bytes + sizeof(float) - 1) / sizeof(float); }
void need_counts(const std::vector<Tensor>& inputs, size_t in, const std::vector<Tensor>& outputs, size_t out);

// What is done to each result: an activation's code, its two numbers, whether a residual is added.
struct Ending {
  Activation activation;
  float low, high;
  bool residual;
};
Ending ending_of(Words& words);
Activation activation_of(Words& words);

}  // namespace shoal
