#include "session/kernel_command.h"

#include "kernels/chain.h"
#include "kernels/convolution.h"
#include "kernels/convolution_int8.h"
#include "kernels/lines.h"
#include "kernels/pooling.h"
#include "session/command_words.h"
#include "session/product_command.h"

namespace shoal {

namespace {

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

// As a convolution's, of which algorithm and unit are 0; weights are of int8, then their scales, and maybe a bias
KernelCall pack_conv_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                               const Kernels& kernels) {
  const ConvShape s = convolution_of(words).shape;
  words.end();
  need_counts(inputs, inputs.size() == 3 ? 3 : 2, outputs, 1);
  const Tensor& w = inputs[0];
  if (!supports_int8(s) || w.dtype() != Dtype::int8 || !w.contiguous() ||
      w.size() < times({s.out_channels, s.in_channels, s.kernel_height, s.kernel_width}))
    throw ValueError("pack_conv_int8 takes weights of int8 that fit a convolution of one group");
  const float* scales = floats(inputs, 1, static_cast<int64_t>(s.out_channels));
  const float* bias = inputs.size() == 3 ? floats(inputs, 2, static_cast<int64_t>(s.out_channels)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(floats_for(conv_int8_weights_bytes(s, kernels))));
  const int8_t* from = w.as<int8_t>();
  return [=](const Run& run) { pack_conv_int8(s, from, scales, bias, packed, run.kernels); };
}

KernelCall convolve_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                              const Kernels& kernels) {
  const ConvShape s = convolution_of(words).shape;
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, ending.residual ? 3 : 2, outputs, 2);
  if (!supports_int8(s)) throw ValueError("the kernels do not do this convolution in 8 bits");
  const Layout in = layout_of(true, s.batch, s.in_channels, s.in_height, s.in_width, kernels);
  const Layout out = layout_of(true, s.batch, s.out_channels, s.out_height, s.out_width, kernels);
  const float* x = floats(inputs, 0, in.count);
  const float* packed = floats(inputs, 1, static_cast<int64_t>(floats_for(conv_int8_weights_bytes(s, kernels))));
  Epilogue epilogue{ending.activation, ending.low, ending.high, nullptr, out.picture};
  if (ending.residual) epilogue.residual = floats(inputs, 2, out.count);
  float* y = room(outputs, 0, out.count);
  float* workspace = room(outputs, 1, static_cast<int64_t>(floats_for(conv_int8_workspace_bytes(s, kernels))));
  return [=](const Run& run) { convolve_int8(s, x, in.picture, packed, epilogue, y, out.picture, workspace, run); };
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
  constexpr int64_t operations = static_cast<int64_t>(ChainOp::power);
  constexpr int64_t registers = static_cast<int64_t>(chain_inputs_max + chain_steps_max) - 1;
  for (size_t i = 0; i < count; ++i) {
    ChainStep step{};
    step.op = static_cast<ChainOp>(words.next(0, operations));
    step.a = static_cast<uint8_t>(words.next(0, registers));
    step.b = static_cast<uint8_t>(words.next(0, registers));
    step.to = static_cast<uint8_t>(words.next(0, registers));
    step.activation = activation_of(words);
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
    case plan::pack_conv_int8: return pack_conv_int8_call(read, inputs, outputs, kernels);
    case plan::convolve_int8: return convolve_int8_call(read, inputs, outputs, kernels);
    case plan::to_blocked: return layout_call(read, inputs, outputs, kernels, true);
    case plan::to_plain: return layout_call(read, inputs, outputs, kernels, false);
    case plan::pool_picture: return pool_call(read, inputs, outputs, kernels);
    case plan::normalize: return normalize_call(read, inputs, outputs);
    case plan::chain: return chain_call(read, inputs, outputs);
    default: return product_call(id, read, inputs, outputs, kernels, threads);
  }
}

std::pair<int64_t, int64_t> kernel_floats(int64_t id, std::span<const int64_t> given, const Kernels& kernels, int threads) {
  Words words(given);
  if (id != plan::convolve && id != plan::convolve_int8) return product_floats(id, words, kernels, threads);
  const Convolution conv = convolution_of(words);
  if (id == plan::convolve_int8) {
    if (!supports_int8(conv.shape)) return {-1, -1};
    return {static_cast<int64_t>(floats_for(conv_int8_weights_bytes(conv.shape, kernels))),
            static_cast<int64_t>(floats_for(conv_int8_workspace_bytes(conv.shape, kernels)))};
  }
  if (!supports(conv, kernels)) return {-1, -1};
  return {static_cast<int64_t>(weights_floats(conv, kernels)), static_cast<int64_t>(workspace_floats(conv, kernels, threads))};
}

}  // namespace shoal
