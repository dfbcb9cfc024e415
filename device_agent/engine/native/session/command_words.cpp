#include "session/command_words.h"

#include <bit>
#include <limits>

namespace shoal {

namespace {

constexpr int64_t size_max = 1 << 24;  // of one axis; products of them are checked against the operands
constexpr int activations = static_cast<int>(Activation::exp) + 1;

}  // namespace

int64_t Words::next(int64_t least, int64_t most) {
  if (at_ == words_.size()) throw ValueError("a kernel's attributes are cut short");
  const int64_t word = words_[at_++];
  if (word < least || word > most) throw ValueError("a kernel's attribute " + std::to_string(word) + " cannot be");
  return word;
}

size_t Words::size(int64_t least) { return static_cast<size_t>(next(least, size_max)); }

float Words::number() {
  using Limits = std::numeric_limits<int64_t>;
  return static_cast<float>(std::bit_cast<double>(next(Limits::min(), Limits::max())));
}

void Words::end() const {
  if (at_ != words_.size()) throw ValueError("a kernel has attributes left over");
}

int64_t times(std::initializer_list<size_t> sizes) {
  int64_t product = 1;
  for (size_t size : sizes)
    if (__builtin_mul_overflow(product, static_cast<int64_t>(size), &product)) throw ValueError("a kernel's sizes are impossible");
  return product;
}

const float* floats(const std::vector<Tensor>& tensors, size_t i, int64_t least) {
  if (i >= tensors.size()) throw ValueError("a kernel lacks an operand");
  const Tensor& tensor = tensors[i];
  if (tensor.dtype() != Dtype::float32 || !tensor.contiguous() || tensor.size() < least)
    throw ValueError("a kernel's operand of shape " + text_of(tensor.shape()) + " is too small, strided or not float32");
  return tensor.as<float>();
}
float* room(const std::vector<Tensor>& tensors, size_t i, int64_t least) {
  return const_cast<float*>(floats(tensors, i, least));
}

void need_counts(const std::vector<Tensor>& inputs, size_t in, const std::vector<Tensor>& outputs, size_t out) {
  if (inputs.size() != in || outputs.size() != out) throw ValueError("a kernel has another number of operands");
}

Activation activation_of(Words& words) { return static_cast<Activation>(words.next(0, activations - 1)); }

Ending ending_of(Words& words) {
  const Activation activation = activation_of(words);
  const float low = words.number(), high = words.number();
  return {activation, low, high, words.flag()};
}

}  // namespace shoal
