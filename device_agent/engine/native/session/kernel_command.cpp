#include "session/kernel_command.h"

#include <bit>
#include <limits>

#include "kernels/attention.h"
#include "kernels/chain.h"
#include "kernels/convolution.h"
#include "kernels/lines.h"
#include "kernels/matmul.h"
#include "kernels/matmul_int8.h"
#include "kernels/pooling.h"
#include "kernels/row_product.h"
#include "kernels/strassen.h"

namespace shoal {

namespace {

constexpr int64_t size_max = 1 << 24;  // of one axis; products of them are checked against the operands
constexpr int activations = static_cast<int>(Activation::exp) + 1;

// Reads words in order, each within its bounds.
class Words {
 public:
  explicit Words(std::span<const int64_t> words) : words_(words) {}

  int64_t next(int64_t least, int64_t most) {
    if (at_ == words_.size()) throw ValueError("a kernel's attributes are cut short");
    const int64_t word = words_[at_++];
    if (word < least || word > most) throw ValueError("a kernel's attribute " + std::to_string(word) + " cannot be");
    return word;
  }
  size_t size(int64_t least = 1) { return static_cast<size_t>(next(least, size_max)); }
  float number() {
    return static_cast<float>(std::bit_cast<double>(
        next(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max())));
  }
  bool flag() { return next(0, 1) != 0; }
  void end() const {
    if (at_ != words_.size()) throw ValueError("a kernel has attributes left over");
  }

 private:
  std::span<const int64_t> words_;
  size_t at_ = 0;
};

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

struct Ending {
  Activation activation;
  float low, high;
  bool residual;
};
Ending ending_of(Words& words) {
  const auto activation = static_cast<Activation>(words.next(0, activations - 1));
  const float low = words.number(), high = words.number();
  return {activation, low, high, words.flag()};
}

// algorithm, unit, batch, groups, then of input, output, kernel, stride, dilation two sizes each, and two pads; channels first
Convolution convolution_of(Words& words) {
  Convolution conv{};
  conv.algorithm = static_cast<ConvAlgorithm>(words.next(0, static_cast<int64_t>(ConvAlgorithm::depthwise_plain)));
  conv.unit = static_cast<size_t>(words.next(0, 6));
  ConvShape& s = conv.shape;
  for (size_t* size : {&s.batch, &s.groups, &s.in_channels, &s.in_height, &s.in_width, &s.out_channels, &s.out_height,
                       &s.out_width, &s.kernel_height, &s.kernel_width, &s.stride_height, &s.stride_width,
                       &s.dilation_height, &s.dilation_width})
    *size = words.size();
  s.pad_top = words.size(0);
  s.pad_left = words.size(0);
  const auto fits = [](size_t in, size_t out, size_t kernel, size_t stride, size_t dilation, size_t before) {
    const size_t reach = (kernel - 1) * dilation + 1;
    return before < reach && (out - 1) * stride < in + before;
  };
  if (s.in_channels % s.groups || s.out_channels % s.groups ||
      !fits(s.in_height, s.out_height, s.kernel_height, s.stride_height, s.dilation_height, s.pad_top) ||
      !fits(s.in_width, s.out_width, s.kernel_width, s.stride_width, s.dilation_width, s.pad_left))
    throw ValueError("a convolution's sizes do not fit together");
  times({s.batch, s.in_channels, s.in_height, s.in_width});
  times({s.batch, s.out_channels, s.out_height, s.out_width});
  times({s.out_channels, s.in_channels, s.kernel_height, s.kernel_width});
  return conv;
}

struct Layout {
  Picture picture;
  int64_t count;
};
Layout layout_of(bool blocked, size_t batch, size_t channels, size_t height, size_t width, const Kernels& kernels) {
  if (!blocked) return {plain_picture(channels, height, width), times({batch, channels, height, width})};
  const size_t lanes = lanes_of(kernels);
  times({batch, channels + lanes, height, width});
  return {blocked_picture(channels, height, width, lanes),
          static_cast<int64_t>(blocked_floats(batch, channels, height, width, lanes))};
}

KernelCall convolve_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                         const Kernels& kernels, int threads) {
  const Convolution conv = convolution_of(words);
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, ending.residual ? 3 : 2, outputs, 2);
  if (!supports(conv, kernels)) throw ValueError("the kernels do not do this convolution");
  const ConvShape& s = conv.shape;
  const bool plain = writes_plain(conv.algorithm), planar = conv.algorithm == ConvAlgorithm::planar;
  const Layout in = layout_of(!plain && !planar, s.batch, s.in_channels, s.in_height, s.in_width, kernels);
  const Layout out = layout_of(!plain, s.batch, s.out_channels, s.out_height, s.out_width, kernels);
  const float* x = floats(inputs, 0, in.count);
  const float* packed = floats(inputs, 1, static_cast<int64_t>(weights_floats(conv, kernels)));
  Epilogue epilogue{ending.activation, ending.low, ending.high, nullptr, out.picture};
  if (ending.residual) epilogue.residual = floats(inputs, 2, out.count);
  float* y = room(outputs, 0, out.count);
  float* workspace = room(outputs, 1, static_cast<int64_t>(workspace_floats(conv, kernels, threads)));
  return [=](const Run& run) { convolve(conv, x, in.picture, packed, epilogue, y, out.picture, workspace, run); };
}

KernelCall pack_convolution_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                                 const Kernels& kernels) {
  const Convolution conv = convolution_of(words);
  words.end();
  if (!supports(conv, kernels)) throw ValueError("the kernels do not do this convolution");
  const ConvShape& s = conv.shape;
  need_counts(inputs, inputs.size() == 2 ? 2 : 1, outputs, 1);
  const float* w = floats(inputs, 0, times({s.out_channels, s.in_channels / s.groups, s.kernel_height, s.kernel_width}));
  const float* bias = inputs.size() == 2 ? floats(inputs, 1, static_cast<int64_t>(s.out_channels)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(weights_floats(conv, kernels)));
  return [=](const Run& run) { pack_weights(conv, w, bias, packed, run.kernels); };
}

// batch, channels, height, width
KernelCall layout_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                       const Kernels& kernels, bool blocks) {
  const size_t batch = words.size(), channels = words.size(), height = words.size(), width = words.size();
  words.end();
  need_counts(inputs, 1, outputs, 1);
  const Layout from = layout_of(!blocks, batch, channels, height, width, kernels);
  const Layout to = layout_of(blocks, batch, channels, height, width, kernels);
  const float* x = floats(inputs, 0, from.count);
  float* y = room(outputs, 0, to.count);
  if (blocks)
    return [=](const Run& run) { to_blocked(x, from.picture, y, to.picture, batch, channels, height, width, run); };
  return [=](const Run& run) { to_plain(x, from.picture, y, to.picture, batch, channels, height, width, run); };
}

// k, n; the right side is (k, n) with any strides
KernelCall pack_right_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                           const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 2 ? 2 : 1, outputs, 1);
  const Tensor& b = inputs[0];
  if (b.dtype() != Dtype::float32 || !(b.shape() == Dims{static_cast<int64_t>(k), static_cast<int64_t>(n)}))
    throw ValueError("pack_right takes (k, n) of float32");
  const float* bias = inputs.size() == 2 ? floats(inputs, 1, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(packed_floats(k, n, kernels)));
  const float* from = b.as<float>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_right(from, row, column, bias, k, n, packed, run); };
}

const Tensor& matrix(const std::vector<Tensor>& inputs, size_t i, size_t rows, size_t columns) {
  const Tensor& tensor = inputs[i];
  if (tensor.dtype() != Dtype::float32 || !(tensor.shape() == Dims{static_cast<int64_t>(rows), static_cast<int64_t>(columns)}))
    throw ValueError("a product takes matrices of float32, of the sizes that its words say");
  return tensor;
}

// Of (m, k) and what the kernel's ending says; a residual is the last input.
Product product_of(size_t m, size_t n, size_t k, const Ending& ending, const std::vector<Tensor>& inputs,
                   const std::vector<Tensor>& outputs) {
  Product product{};
  product.m = m, product.n = n, product.k = k;
  const Tensor& a = matrix(inputs, 0, m, k);
  product.a = a.as<float>();
  product.a_row = a.strides()[0], product.a_column = a.strides()[1];
  const int64_t count = times({m, n});
  product.c = room(outputs, 0, count);
  product.c_row = product.residual_row = static_cast<ptrdiff_t>(n);
  product.activation = ending.activation, product.low = ending.low, product.high = ending.high;
  if (ending.residual) product.residual = floats(inputs, inputs.size() - 1, count);
  return product;
}

// k, n; the right side is (k, n) with any strides; the second output is room to work in
KernelCall pack_strassen_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                              const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 2 ? 2 : 1, outputs, 2);
  const Tensor& b = matrix(inputs, 0, k, n);
  if (!strassen_fits(2, n, k)) throw ValueError("pack_strassen takes even sizes");
  const float* bias = inputs.size() == 2 ? floats(inputs, 1, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(strassen_packed_floats(k, n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(strassen_packing_floats(k, n)));
  const float* from = b.as<float>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_strassen(from, row, column, bias, k, n, packed, workspace, run.kernels); };
}

// m, n, k, the ending
KernelCall product_strassen_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                                 const Kernels& kernels) {
  const size_t m = words.size(), n = words.size(), k = words.size();
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, ending.residual ? 3 : 2, outputs, 2);
  const Product product = product_of(m, n, k, ending, inputs, outputs);
  if (!strassen_fits(m, n, k) || product.a_column != 1)
    throw ValueError("product_strassen takes two rows or more that are contiguous, and even sizes");
  const float* packed = floats(inputs, 1, static_cast<int64_t>(strassen_packed_floats(k, n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(strassen_workspace_floats(m, n, k)));
  return [=](const Run& run) { multiply_strassen(product, packed, workspace, run); };
}

// m, n, k, the ending
KernelCall product_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                        const Kernels& kernels, int threads) {
  const size_t m = words.size(), n = words.size(), k = words.size();
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, ending.residual ? 3 : 2, outputs, 2);
  const Product product = product_of(m, n, k, ending, inputs, outputs);
  const float* packed = floats(inputs, 1, static_cast<int64_t>(packed_floats(product.k, product.n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(product_workspace_floats(product, kernels, threads)));
  return [=](const Run& run) { multiply(product, packed, workspace, run); };
}

size_t floats_for(size_t bytes) { return (bytes + sizeof(float) - 1) / sizeof(float); }

// k, n; weights (k, n) of int8 with any strides, their scales, and maybe a bias
KernelCall pack_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                          const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 3 ? 3 : 2, outputs, 1);
  const Tensor& b = inputs[0];
  if (k > int8_k_max || b.dtype() != Dtype::int8 || !(b.shape() == Dims{static_cast<int64_t>(k), static_cast<int64_t>(n)}))
    throw ValueError("pack_int8 takes (k, n) of int8, k at most " + std::to_string(int8_k_max));
  const float* scales = floats(inputs, 1, static_cast<int64_t>(n));
  const float* bias = inputs.size() == 3 ? floats(inputs, 2, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(floats_for(packed_int8_bytes(k, n, kernels))));
  const int8_t* from = b.as<int8_t>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_right_int8(from, row, column, scales, bias, k, n, packed, run.kernels); };
}

// m, n, k, the ending; A's columns are neighbours
KernelCall product_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                             const Kernels& kernels) {
  const size_t m = words.size(), n = words.size(), k = words.size();
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, ending.residual ? 3 : 2, outputs, 2);
  const Product product = product_of(m, n, k, ending, inputs, outputs);
  if (k > int8_k_max || product.a_column != 1) throw ValueError("product_int8 takes rows that are contiguous, of at most " + std::to_string(int8_k_max));
  const float* packed = floats(inputs, 1, static_cast<int64_t>(floats_for(packed_int8_bytes(k, n, kernels))));
  float* workspace = room(outputs, 1, static_cast<int64_t>(floats_for(product_int8_workspace_bytes(product))));
  return [=](const Run& run) { multiply_int8(product, packed, workspace, run); };
}

// m, n, k, the ending, whether there is a bias; the right side is (k, n) where it lies
KernelCall row_product_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                            const Kernels& kernels, int threads) {
  const size_t m = words.size(), n = words.size(), k = words.size();
  const Ending ending = ending_of(words);
  const bool biased = words.flag();
  words.end();
  need_counts(inputs, 2u + biased + ending.residual, outputs, 2);
  RowProduct rows{};
  rows.product = product_of(m, n, k, ending, inputs, outputs);
  const Tensor& b = matrix(inputs, 1, k, n);
  rows.b = b.as<float>();
  rows.b_row = b.strides()[0], rows.b_column = b.strides()[1];
  if (rows.product.a_column != 1 || (rows.b_row != 1 && rows.b_column != 1))
    throw ValueError("row_product takes sides whose rows or columns are contiguous");
  if (biased) rows.bias = floats(inputs, 2, static_cast<int64_t>(n));
  float* workspace = room(outputs, 1, static_cast<int64_t>(row_product_workspace_floats(m, n, k, kernels, threads)));
  return [=](const Run& run) { multiply_rows(rows, workspace, run); };
}

// batch, m, n, k, scale; both sides (batch, rows, columns) with any strides
KernelCall products_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                         const Kernels& kernels, int threads) {
  Products p{};
  p.batch = words.size(), p.m = words.size(), p.n = words.size(), p.k = words.size();
  p.scale = words.number();
  words.end();
  need_counts(inputs, 2, outputs, 2);
  const auto dim = [](size_t n) { return static_cast<int64_t>(n); };
  const Tensor &a = inputs[0], &b = inputs[1];
  if (a.dtype() != Dtype::float32 || b.dtype() != Dtype::float32 || !(a.shape() == Dims{dim(p.batch), dim(p.m), dim(p.k)}) ||
      !(b.shape() == Dims{dim(p.batch), dim(p.k), dim(p.n)}))
    throw ValueError("products takes (batch, m, k) and (batch, k, n) of float32");
  p.a = a.as<float>(), p.a_batch = a.strides()[0], p.a_row = a.strides()[1], p.a_column = a.strides()[2];
  p.b = b.as<float>(), p.b_batch = b.strides()[0], p.b_row = b.strides()[1], p.b_column = b.strides()[2];
  p.c = room(outputs, 0, times({p.batch, p.m, p.n}));
  p.c_batch = static_cast<ptrdiff_t>(p.m * p.n), p.c_row = static_cast<ptrdiff_t>(p.n);
  float* workspace = room(outputs, 1, static_cast<int64_t>(products_workspace_floats(p, kernels, threads)));
  return [=](const Run& run) { multiply_each(p, workspace, run); };
}

// outer, inner, m, n, k, width, scale, the result's steps for outer, inner and m, whether there is a mask
Attention attention_of(Words& words) {
  Attention a{};
  for (size_t* size : {&a.outer, &a.inner, &a.m, &a.n, &a.k, &a.width}) *size = words.size();
  a.scale = words.number();
  for (ptrdiff_t* step : {&a.out_outer, &a.out_inner, &a.out_row}) *step = static_cast<ptrdiff_t>(words.next(0, tensor_bytes_max));
  return a;
}

const Tensor& heads(const std::vector<Tensor>& inputs, size_t i, std::initializer_list<size_t> sizes) {
  const Tensor& tensor = inputs[i];
  Dims shape;
  for (size_t size : sizes) shape.push(static_cast<int64_t>(size));
  if (tensor.dtype() != Dtype::float32 || !(tensor.shape() == shape)) throw ValueError("attention takes (heads, rows, columns) of float32");
  return tensor;
}
Heads steps_of(const Tensor& t) { return {t.as<float>(), t.strides()[0], t.strides()[1], t.strides()[2]}; }

// queries (heads, m, k), keys (heads, k, n), values (heads, n, width) with any strides; a mask (outer, inner, m, n)
KernelCall attention_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                          const Kernels& kernels, int threads) {
  Attention a = attention_of(words);
  const bool masked = words.flag();
  words.end();
  need_counts(inputs, masked ? 4 : 3, outputs, 2);
  const auto all = static_cast<size_t>(times({a.outer, a.inner}));
  a.queries = steps_of(heads(inputs, 0, {all, a.m, a.k}));
  a.keys = steps_of(heads(inputs, 1, {all, a.k, a.n}));
  a.values = steps_of(heads(inputs, 2, {all, a.n, a.width}));
  if (masked) {
    const Tensor& mask = heads(inputs, 3, {a.outer, a.inner, a.m, a.n});
    if (mask.strides()[3] != 0 && mask.strides()[3] != 1) throw ValueError("a mask's columns are neighbours");
    a.mask = mask.as<float>();
    a.mask_outer = mask.strides()[0], a.mask_inner = mask.strides()[1];
    a.mask_row = mask.strides()[2], a.mask_column = mask.strides()[3];
  }
  int64_t reach = static_cast<int64_t>(a.width);
  for (const auto& [size, step] : {std::pair{a.outer, a.out_outer}, {a.inner, a.out_inner}, {a.m, a.out_row}})
    if (__builtin_add_overflow(reach, times({size - 1, static_cast<size_t>(step)}), &reach)) throw ValueError("attention's steps are impossible");
  a.out = room(outputs, 0, reach);
  float* workspace = room(outputs, 1, static_cast<int64_t>(attention_workspace_floats(a, kernels, threads)));
  return [=](const Run& run) { attend(a, workspace, run); };
}

// maximum, blocked, count_pads, batch, channels, then of input, output, kernel, stride, dilation two sizes each; four pads
KernelCall pool_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                     const Kernels& kernels) {
  Pooling p{};
  p.maximum = words.flag(), p.blocked = words.flag(), p.count_pads = words.flag();
  for (size_t* size : {&p.batch, &p.channels, &p.in_height, &p.in_width, &p.out_height, &p.out_width, &p.kernel_height,
                       &p.kernel_width, &p.stride_height, &p.stride_width, &p.dilation_height, &p.dilation_width})
    *size = words.size();
  for (size_t* size : {&p.pad_top, &p.pad_left, &p.pad_bottom, &p.pad_right}) *size = words.size(0);
  words.end();
  need_counts(inputs, 1, outputs, 1);
  const Layout in = layout_of(p.blocked, p.batch, p.channels, p.in_height, p.in_width, kernels);
  const Layout out = layout_of(p.blocked, p.batch, p.channels, p.out_height, p.out_width, kernels);
  const float* x = floats(inputs, 0, in.count);
  float* y = room(outputs, 0, out.count);
  return [=](const Run& run) { pool_picture(p, x, in.picture, y, out.picture, run); };
}

// rows, columns, epsilon
KernelCall normalize_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
  LayerNorm norm{};
  norm.rows = words.size(), norm.columns = words.size();
  norm.epsilon = words.number();
  words.end();
  need_counts(inputs, 3, outputs, 1);
  const int64_t count = times({norm.rows, norm.columns});
  norm.x = floats(inputs, 0, count);
  norm.scale = floats(inputs, 1, static_cast<int64_t>(norm.columns));
  norm.shift = floats(inputs, 2, static_cast<int64_t>(norm.columns));
  norm.out = room(outputs, 0, count);
  return [=](const Run& run) { normalize(norm, run); };
}

// A chain that owns what it is made of.
struct OwnedChain {
  size_t outer, middle, inner;
  std::vector<ChainInput> inputs;
  std::vector<ChainStep> steps;
  float* out;
};

// Elements that an input's steps reach; all are 0 or more.
int64_t reach_of(const OwnedChain& chain, const ChainInput& input) {
  int64_t last = 0;
  for (const auto& [size, step] : {std::pair{chain.outer, input.outer}, {chain.middle, input.middle}, {chain.inner, input.inner}}) {
    int64_t part = 0;
    if (__builtin_mul_overflow(static_cast<int64_t>(size) - 1, static_cast<int64_t>(step), &part) ||
        __builtin_add_overflow(last, part, &last))
      throw ValueError("a chain's steps are impossible");
  }
  return last + 1;
}

// outer, middle, inner; of each input its three steps; how many steps, and of each: operation, a, b, to, activation, low, high
KernelCall chain_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs) {
  OwnedChain owned{};
  owned.outer = words.size(), owned.middle = words.size(), owned.inner = words.size();
  need_counts(inputs, inputs.size(), outputs, 1);
  for (size_t i = 0; i < inputs.size(); ++i) {
    ChainInput input{};
    input.outer = static_cast<ptrdiff_t>(words.next(0, tensor_bytes_max));
    input.middle = static_cast<ptrdiff_t>(words.next(0, tensor_bytes_max));
    input.inner = static_cast<ptrdiff_t>(words.next(0, 1));
    input.at = floats(inputs, i, reach_of(owned, input));
    owned.inputs.push_back(input);
  }
  const size_t count = static_cast<size_t>(words.next(1, static_cast<int64_t>(chain_steps_max)));
  constexpr int64_t operations = static_cast<int64_t>(ChainOp::logarithm);
  constexpr int64_t registers = static_cast<int64_t>(chain_inputs_max + chain_steps_max) - 1;
  for (size_t i = 0; i < count; ++i) {
    ChainStep step{};
    step.op = static_cast<ChainOp>(words.next(0, operations));
    step.a = static_cast<uint8_t>(words.next(0, registers));
    step.b = static_cast<uint8_t>(words.next(0, registers));
    step.to = static_cast<uint8_t>(words.next(0, registers));
    step.activation = static_cast<Activation>(words.next(0, activations - 1));
    step.low = words.number(), step.high = words.number();
    owned.steps.push_back(step);
  }
  words.end();
  owned.out = room(outputs, 0, times({owned.outer, owned.middle, owned.inner}));
  const auto chain_of = [](const OwnedChain& of) {
    return Chain{of.outer, of.middle, of.inner, of.inputs, of.steps, of.out};
  };
  if (!chain_fits(chain_of(owned))) throw ValueError("the kernels do not run this chain");
  return [owned, chain_of](const Run& run) { run_chain(chain_of(owned), run); };
}

}  // namespace

KernelCall kernel_call(int64_t id, std::span<const int64_t> words, const std::vector<Tensor>& inputs,
                       const std::vector<Tensor>& outputs, const Kernels& kernels, int threads) {
  const Words read(words);
  switch (id) {
    case plan::convolve: return convolve_call(read, inputs, outputs, kernels, threads);
    case plan::pack_convolution: return pack_convolution_call(read, inputs, outputs, kernels);
    case plan::to_blocked: return layout_call(read, inputs, outputs, kernels, true);
    case plan::to_plain: return layout_call(read, inputs, outputs, kernels, false);
    case plan::pack_right: return pack_right_call(read, inputs, outputs, kernels);
    case plan::product: return product_call(read, inputs, outputs, kernels, threads);
    case plan::row_product: return row_product_call(read, inputs, outputs, kernels, threads);
    case plan::pack_int8: return pack_int8_call(read, inputs, outputs, kernels);
    case plan::product_int8: return product_int8_call(read, inputs, outputs, kernels);
    case plan::pack_strassen: return pack_strassen_call(read, inputs, outputs, kernels);
    case plan::product_strassen: return product_strassen_call(read, inputs, outputs, kernels);
    case plan::products: return products_call(read, inputs, outputs, kernels, threads);
    case plan::pool_picture: return pool_call(read, inputs, outputs, kernels);
    case plan::normalize: return normalize_call(read, inputs, outputs);
    case plan::chain: return chain_call(read, inputs, outputs);
    case plan::attention: return attention_call(read, inputs, outputs, kernels, threads);
    default: return nullptr;
  }
}

std::pair<int64_t, int64_t> kernel_floats(int64_t id, std::span<const int64_t> given, const Kernels& kernels, int threads) {
  Words words(given);
  const auto count = [](size_t n) { return static_cast<int64_t>(n); };
  if (id == plan::convolve) {
    const Convolution conv = convolution_of(words);
    if (!supports(conv, kernels)) return {-1, -1};
    return {count(weights_floats(conv, kernels)), count(workspace_floats(conv, kernels, threads))};
  }
  if (id == plan::product) {
    Product product{};
    product.m = words.size(), product.n = words.size(), product.k = words.size();
    times({product.k, product.n});
    return {count(packed_floats(product.k, product.n, kernels)), count(product_workspace_floats(product, kernels, threads))};
  }
  if (id == plan::product_int8) {
    Product product{};
    product.m = words.size(), product.n = words.size(), product.k = words.size();
    times({product.m, product.k, 2});
    return {count(floats_for(packed_int8_bytes(product.k, product.n, kernels))),
            count(floats_for(product_int8_workspace_bytes(product)))};
  }
  if (id == plan::product_strassen) {
    const size_t m = words.size(), n = words.size(), k = words.size();
    if (!strassen_fits(m, n, k)) return {-1, -1};
    return {count(strassen_packed_floats(k, n, kernels)), count(strassen_workspace_floats(m, n, k))};
  }
  if (id == plan::row_product) {
    const size_t m = words.size(), n = words.size(), k = words.size();
    return {0, count(row_product_workspace_floats(m, n, k, kernels, threads))};
  }
  if (id == plan::products) {
    Products p{};
    p.batch = words.size(), p.m = words.size(), p.n = words.size(), p.k = words.size();
    times({p.batch, p.m, p.n});
    return {0, count(products_workspace_floats(p, kernels, threads))};
  }
  if (id == plan::attention) {
    Attention a = attention_of(words);
    // Whether Q is written anew hangs on its strides, which words do not say: room for it is always counted.
    return {0, count(attention_workspace_floats(a, kernels, threads))};
  }
  throw ValueError("there is no kernel command " + std::to_string(id));
}

}  // namespace shoal
