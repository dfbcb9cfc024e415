// Products and convolutions by 8-bit weights, of numbers that are rounded to 8 bits as they come.
#include "kernels/convolution_int8.h"
#include "kernels/matmul_int8.h"
#include "ops/op.h"

namespace shoal {

namespace {

void need_types(const char* name, Specs inputs) {
  if (inputs[0].dtype != Dtype::float32 || inputs[1].dtype != Dtype::int8 || inputs[2].dtype != Dtype::float32)
    throw DtypeError(std::string(name) + " takes float32, weights of int8 and scales of float32");
}

Run alone(const Kernels& kernels) {
  return {kernels, nullptr, bounds_here() == nullptr ? nullptr : &bounds_here()->cancelled};
}

std::shared_ptr<std::byte> room_of(size_t bytes) { return allocate(static_cast<int64_t>(bytes)); }

// Of one group over two axes; what convolution's rules say of sizes holds.
ConvShape shape_of(const Op& op, const Dims& x, const Dims& w, const Dims& out) {
  const auto size = [](int64_t n) { return static_cast<size_t>(n); };
  const auto word = [&](size_t i) { return size(op.integer(i)); };
  return {size(x[0]), 1, size(x[1]), size(x[2]), size(x[3]), size(w[0]), size(out[2]), size(out[3]), size(w[2]), size(w[3]),
          word(1), word(5), word(2), word(6), word(3), word(7)};
}

}  // namespace

// x (..., k), w (k, n) in 8 bits, scales (n).
Spec infer_quantized_matmul(const Op&, Specs inputs) {
  const Spec &x = inputs[0], &w = inputs[1], &scales = inputs[2];
  need_types("quantized_matmul", inputs);
  if (x.shape.rank() == 0 || w.shape.rank() != 2 || x.shape[x.shape.rank() - 1] != w.shape[0]) throw ValueError("quantized_matmul of shapes " + text_of(x.shape) + " and " + text_of(w.shape) + ": the inner axes differ");
  if (!(scales.shape == Dims{w.shape[1]})) throw ValueError("quantized_matmul takes one scale a column of weights");
  if (w.shape[0] > static_cast<int64_t>(int8_k_max))
    throw ValueError("quantized_matmul sums at most " + std::to_string(int8_k_max) + " products");
  Dims shape = x.shape;
  shape[shape.rank() - 1] = w.shape[1];
  return {Dtype::float32, shape};
}

void execute_quantized_matmul(const Op&, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  if (out.size() == 0) return;
  const Tensor x = contiguous(inputs[0]), &w = inputs[1], scales = contiguous(inputs[2]);
  const auto k = static_cast<size_t>(w.shape()[0]), n = static_cast<size_t>(w.shape()[1]);
  Product product{};
  product.m = static_cast<size_t>(out.size()) / n, product.n = n, product.k = k;
  product.a = x.as<float>(), product.a_row = static_cast<ptrdiff_t>(k), product.a_column = 1;
  product.c = out.as<float>(), product.c_row = static_cast<ptrdiff_t>(n);
  const auto packed = allocate(static_cast<int64_t>(packed_int8_bytes(k, n, kernels)));
  const auto workspace = allocate(static_cast<int64_t>(product_int8_workspace_bytes(product)));
  pack_right_int8(w.as<int8_t>(), w.strides()[0], w.strides()[1], scales.as<float>(), nullptr, k, n, packed.get(), kernels);
  multiply_int8(product, packed.get(), workspace.get(), alone(kernels));
  KillWatch().look();
}

// x (N, C, H, W), w (M, C, h, w) in 8 bits, scales (M); attributes as convolution's, one group.
Spec infer_quantized_convolution(const Op& op, Specs inputs) {
  need_types("quantized_convolution", inputs);
  const Spec &x = inputs[0], &w = inputs[1];
  if (x.shape.rank() != 4 || op.integer(0) != 1) throw ValueError("quantized_convolution takes pictures and one group");
  const std::array plain{Spec{Dtype::float32, x.shape}, Spec{Dtype::float32, w.shape}};
  const Spec out = infer_convolution(op, plain);
  if (!(inputs[2].shape == Dims{w.shape[0]})) throw ValueError("quantized_convolution takes one scale a filter");
  if (count_of(x.shape) > 0 && count_of(out.shape) > 0 && !supports_int8(shape_of(op, x.shape, w.shape, out.shape)))
    throw ValueError("quantized_convolution takes columns beside each other, and sums at most " + std::to_string(int8_k_max) + " products");
  return out;
}

void execute_quantized_convolution(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  if (out.size() == 0) return;
  const Tensor x = contiguous(inputs[0]), w = contiguous(inputs[1]), scales = contiguous(inputs[2]);
  const ConvShape s = shape_of(op, x.shape(), w.shape(), out.shape());
  const size_t lanes = lanes_of(kernels);
  const Picture in = blocked_picture(s.in_channels, s.in_height, s.in_width, lanes);
  const Picture made = blocked_picture(s.out_channels, s.out_height, s.out_width, lanes);
  const auto given = room_of(blocked_floats(s.batch, s.in_channels, s.in_height, s.in_width, lanes) * sizeof(float));
  const auto result = room_of(blocked_floats(s.batch, s.out_channels, s.out_height, s.out_width, lanes) * sizeof(float));
  const auto packed = room_of(conv_int8_weights_bytes(s, kernels)), workspace = room_of(conv_int8_workspace_bytes(s, kernels));
  const Run run = alone(kernels);
  auto *from = reinterpret_cast<float*>(given.get()), *to = reinterpret_cast<float*>(result.get());
  to_blocked(x.as<float>(), plain_picture(s.in_channels, s.in_height, s.in_width), from, in, s.batch, s.in_channels,
             s.in_height, s.in_width, run);
  pack_conv_int8(s, w.as<int8_t>(), scales.as<float>(), nullptr, packed.get(), kernels);
  convolve_int8(s, from, in, packed.get(), {}, to, made, workspace.get(), run);
  to_plain(to, made, out.as<float>(), plain_picture(s.out_channels, s.out_height, s.out_width), s.batch, s.out_channels,
           s.out_height, s.out_width, run);
  KillWatch().look();
}

}  // namespace shoal
