// Kernels by themselves, for tests that compare and benchmarks that time them. Sessions call them from C++.
//
// Rules: each function takes plain tensors, packs, runs `repeats` times and gives (result, seconds of the fastest run);
// packing and changes of layout are not in that time. Whatever a kernel does not support is refused here.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "bindings/binding.h"
#include "kernels/chain.h"
#include "kernels/convolution.h"
#include "kernels/lines.h"
#include "kernels/matmul.h"
#include "kernels/matmul_int8.h"
#include "kernels/strassen.h"
#include "kernels/pooling.h"
#include "tensor/run.h"
#include "threads/pool.h"

namespace shoal::binding {

namespace {

constexpr int repeats_max = 1'000'000;

struct Floats {
  std::shared_ptr<std::byte> storage;
  float* at = nullptr;
  explicit Floats(size_t count)
      : storage(allocate(static_cast<int64_t>(std::max<size_t>(count, 1) * sizeof(float)))),
        at(reinterpret_cast<float*>(storage.get())) {}
};

Tensor floats_of(const State& state, PyObject* object, int rank) {
  const Tensor x = contiguous(need_tensor(state, object));
  if (x.dtype() != Dtype::float32) throw DtypeError(std::string("kernels take float32, not ") + name_of(x.dtype()));
  if (x.rank() != rank) throw ValueError("a kernel's operand of shape " + text_of(x.shape()) + " needs another rank");
  return x;
}

std::optional<Tensor> maybe_floats(const State& state, PyObject* object, const Dims& shape) {
  if (object == Py_None) return std::nullopt;
  Tensor x = floats_of(state, object, shape.rank());
  if (!(x.shape() == shape)) throw ValueError("bias or residual " + text_of(x.shape()) + " is not " + text_of(shape));
  return x;
}
const float* data_of(const std::optional<Tensor>& x) { return x.has_value() ? x->as<float>() : nullptr; }

Activation activation_named(const std::string& name) {
  static constexpr const char* names[] = {"none",       "clip",         "sigmoid",    "silu", "tanh",
                                          "gelu",       "gelu_tanh",    "hard_swish", "hard_sigmoid",
                                          "leaky_relu", "elu",          "softplus",   "mish", "erf",
                                          "exp"};
  for (size_t i = 0; i < std::size(names); ++i)
    if (name == names[i]) return static_cast<Activation>(i);
  throw ValueError("no activation '" + name + "'");
}

ConvAlgorithm algorithm_named(const std::string& name) {
  static constexpr const char* names[] = {"direct",   "planar", "depthwise",
                                          "winograd", "im2col", "depthwise_plain"};
  for (size_t i = 0; i < std::size(names); ++i)
    if (name == names[i]) return static_cast<ConvAlgorithm>(i);
  throw ValueError("no algorithm '" + name + "'");
}

struct Timing {
  int threads = 1, repeats = 1;

  // Seconds of the fastest run, without the GIL.
  template <typename F>
  double fastest(const Kernels& kernels, F body) const {
    if (threads < 1 || threads > pool_threads_max) throw ValueError("threads are 1 to 64");
    if (repeats < 1 || repeats > repeats_max) throw ValueError("repeats are 1 to 1000000");
    const Released released;
    Pool pool(threads);
    const auto& bounds = bounds_here();
    const Run run{kernels, &pool, bounds == nullptr ? nullptr : &bounds->cancelled};
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i < repeats; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      body(run);
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      KillWatch().look();  // what was cut short is no result
    }
    return best;
  }
};

PyObject* result(const State& state, Tensor out, double seconds) {
  const Owned tensor(wrap(state, std::move(out)));
  return Py_BuildValue("(Od)", tensor.get(), seconds);
}

size_t at_least(int64_t value, int64_t least, const char* what) {
  if (value < least || value > 1 << 24) throw ValueError(std::string(what) + " cannot be " + std::to_string(value));
  return static_cast<size_t>(value);
}

// --- convolution ------------------------------------------------------------------------------------------------

ConvShape shape_of(const Tensor& x, const Tensor& weights, int groups, const Dims& strides, const Dims& dilations,
                   const Dims& pads) {
  if (strides.rank() != 2 || dilations.rank() != 2 || pads.rank() != 4)
    throw ValueError("strides and dilations are two numbers, pads four: top, left, bottom, right");
  ConvShape s{};
  const auto dim = [](int64_t n) { return static_cast<size_t>(n); };
  s.batch = dim(x.shape()[0]);
  s.groups = at_least(groups, 1, "groups");
  s.in_channels = dim(x.shape()[1]);
  s.in_height = dim(x.shape()[2]);
  s.in_width = dim(x.shape()[3]);
  s.out_channels = dim(weights.shape()[0]);
  s.kernel_height = dim(weights.shape()[2]);
  s.kernel_width = dim(weights.shape()[3]);
  s.stride_height = at_least(strides[0], 1, "a stride");
  s.stride_width = at_least(strides[1], 1, "a stride");
  s.dilation_height = at_least(dilations[0], 1, "a dilation");
  s.dilation_width = at_least(dilations[1], 1, "a dilation");
  s.pad_top = at_least(pads[0], 0, "a pad");
  s.pad_left = at_least(pads[1], 0, "a pad");
  const auto out = [](int64_t in, int64_t before, int64_t after, size_t kernel, size_t dilation, size_t stride) {
    const int64_t room = in + before + after - static_cast<int64_t>((kernel - 1) * dilation + 1);
    if (room < 0 || kernel == 0) throw ValueError("the kernel does not fit the padded input");
    return static_cast<size_t>(room) / stride + 1;
  };
  s.out_height = out(x.shape()[2], pads[0], static_cast<int64_t>(at_least(pads[2], 0, "a pad")), s.kernel_height,
                     s.dilation_height, s.stride_height);
  s.out_width = out(x.shape()[3], pads[1], static_cast<int64_t>(at_least(pads[3], 0, "a pad")), s.kernel_width,
                    s.dilation_width, s.stride_width);
  if (weights.shape()[1] * groups != x.shape()[1]) throw ValueError("weights and input differ in channels");
  return s;
}

// A picture in the layout that the algorithm wants, with the plain data in it.
struct Laid {
  Floats data;
  Picture picture;
  Laid(bool blocked, size_t batch, size_t channels, size_t height, size_t width, const Kernels& kernels)
      : data(blocked_floats(batch, channels, height, width, lanes_of(kernels))),
        picture(blocked ? blocked_picture(channels, height, width, lanes_of(kernels))
                        : plain_picture(channels, height, width)) {}
};

PyObject* conv2d(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x",    "weights",    "bias", "residual", "strides", "dilations", "pads",
                                           "groups", "algorithm", "unit", "activation", "low", "high", "threads",
                                           "repeats", "level", nullptr};
    PyObject *x_, *weights_, *bias_ = Py_None, *residual_ = Py_None, *strides = nullptr, *dilations = nullptr,
                             *pads = nullptr;
    const char *algorithm = "direct", *activation = "none", *level = nullptr;
    int groups = 1, unit = 4;
    double low = 0, high = 0;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OO|OO$OOOisisddiiz:kernel_conv2d", const_cast<char**>(keywords), &x_,
                                     &weights_, &bias_, &residual_, &strides, &dilations, &pads, &groups, &algorithm,
                                     &unit, &activation, &low, &high, &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor x = floats_of(state, x_, 4), weights = floats_of(state, weights_, 4);
    Convolution conv{};
    conv.shape = shape_of(x, weights, groups, strides == nullptr ? Dims{1, 1} : dims_from(strides),
                          dilations == nullptr ? Dims{1, 1} : dims_from(dilations),
                          pads == nullptr ? Dims{0, 0, 0, 0} : dims_from(pads));
    conv.algorithm = algorithm_named(algorithm);
    conv.unit = at_least(unit, 1, "a unit");
    if (!supports(conv, kernels)) throw ValueError(std::string(algorithm) + " does not do this convolution");
    const ConvShape& s = conv.shape;
    const Tensor out(Spec{Dtype::float32, {x.shape()[0], weights.shape()[0], static_cast<int64_t>(s.out_height),
                                           static_cast<int64_t>(s.out_width)}});
    const auto bias = maybe_floats(state, bias_, {weights.shape()[0]});
    const auto residual = maybe_floats(state, residual_, out.shape());
    const bool blocked_out =
        !writes_plain(conv.algorithm);
    const bool blocked_in = blocked_out && conv.algorithm != ConvAlgorithm::planar;
    const Laid in_laid(blocked_in, s.batch, s.in_channels, s.in_height, s.in_width, kernels);
    const Laid out_laid(blocked_out, s.batch, s.out_channels, s.out_height, s.out_width, kernels);
    const Laid rest_laid(blocked_out, s.batch, s.out_channels, s.out_height, s.out_width, kernels);
    const Floats packed(weights_floats(conv, kernels)), workspace(workspace_floats(conv, kernels, timing.threads));
    const Picture plain_in = plain_picture(s.in_channels, s.in_height, s.in_width);
    const Picture plain_out = plain_picture(s.out_channels, s.out_height, s.out_width);
    const Run alone{kernels};
    pack_weights(conv, weights.as<float>(), data_of(bias), packed.at, kernels);
    const float* in = x.as<float>();
    if (blocked_in) {
      to_blocked(in, plain_in, in_laid.data.at, in_laid.picture, s.batch, s.in_channels, s.in_height, s.in_width, alone);
      in = in_laid.data.at;
    }
    Epilogue epilogue{activation_named(activation), static_cast<float>(low), static_cast<float>(high),
                      data_of(residual), out_laid.picture};
    if (residual.has_value() && blocked_out) {
      to_blocked(residual->as<float>(), plain_out, rest_laid.data.at, out_laid.picture, s.batch, s.out_channels,
                 s.out_height, s.out_width, alone);
      epilogue.residual = rest_laid.data.at;
    }
    float* made = blocked_out ? out_laid.data.at : out.as<float>();
    const double seconds = timing.fastest(kernels, [&](const Run& run) {
      convolve(conv, in, in_laid.picture, packed.at, epilogue, made, out_laid.picture, workspace.at, run);
    });
    if (blocked_out)
      to_plain(made, out_laid.picture, out.as<float>(), plain_out, s.batch, s.out_channels, s.out_height, s.out_width,
               alone);
    return result(state, out, seconds);
  });
}

// --- matrix products --------------------------------------------------------------------------------------------

PyObject* matmul(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a",   "b",    "bias",    "residual", "algorithm", "activation",
                                           "low", "high", "threads",  "repeats",   "level",     nullptr};
    PyObject *a_, *b_, *bias_ = Py_None, *residual_ = Py_None;
    const char *algorithm = "packed", *activation = "none", *level = nullptr;
    double low = 0, high = 0;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OO|OO$ssddiiz:kernel_matmul", const_cast<char**>(keywords), &a_, &b_,
                                     &bias_, &residual_, &algorithm, &activation, &low, &high, &timing.threads, &timing.repeats,
                                     &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor a = need_tensor(state, a_), b = need_tensor(state, b_);  // any strides
    if (a.dtype() != Dtype::float32 || b.dtype() != Dtype::float32) throw DtypeError("kernel_matmul takes float32");
    if (a.rank() != 2 || b.rank() != 2 || a.shape()[1] != b.shape()[0])
      throw ValueError("kernel_matmul takes (m, k) and (k, n)");
    const int64_t m = a.shape()[0], k = a.shape()[1], n = b.shape()[1];
    const Tensor out(Spec{Dtype::float32, {m, n}});
    const auto bias = maybe_floats(state, bias_, {n});
    const auto residual = maybe_floats(state, residual_, {m, n});
    Product product{static_cast<size_t>(m), static_cast<size_t>(n), static_cast<size_t>(k), a.as<float>(),
                    a.strides()[0], a.strides()[1], out.as<float>(), n};
    product.activation = activation_named(activation);
    product.low = static_cast<float>(low);
    product.high = static_cast<float>(high);
    product.residual = data_of(residual);
    product.residual_row = n;
    if (std::string_view(algorithm) == "strassen") {
      if (!strassen_fits(product.m, product.n, product.k) || product.a_column != 1)
        throw ValueError("strassen takes two rows or more that are contiguous, and even sizes");
      const Floats packed(strassen_packed_floats(product.k, product.n, kernels));
      const Floats workspace(strassen_workspace_floats(product.m, product.n, product.k));
      const Floats packing(strassen_packing_floats(product.k, product.n));
      pack_strassen(b.as<float>(), b.strides()[0], b.strides()[1], data_of(bias), product.k, product.n, packed.at,
                    packing.at, kernels);
      return result(state, out, timing.fastest(kernels, [&](const Run& run) {
        multiply_strassen(product, packed.at, workspace.at, run);
      }));
    }
    if (std::string_view(algorithm) != "packed") throw ValueError("the algorithms of a product are packed and strassen");
    const Floats packed(packed_floats(product.k, product.n, kernels));
    const Floats workspace(product_workspace_floats(product, kernels, timing.threads));
    pack_right(b.as<float>(), b.strides()[0], b.strides()[1], data_of(bias), product.k, product.n, packed.at, kernels);
    const double seconds =
        timing.fastest(kernels, [&](const Run& run) { multiply(product, packed.at, workspace.at, run); });
    return result(state, out, seconds);
  });
}

PyObject* matmul_int8(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a",   "b",    "bias",    "residual", "activation", "low",
                                           "high", "threads", "repeats", "level", nullptr};
    PyObject *a_, *b_, *bias_ = Py_None, *residual_ = Py_None;
    const char *activation = "none", *level = nullptr;
    double low = 0, high = 0;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OO|OO$sddiiz:kernel_matmul_int8", const_cast<char**>(keywords), &a_, &b_,
                                     &bias_, &residual_, &activation, &low, &high, &timing.threads, &timing.repeats,
                                     &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor a = floats_of(state, a_, 2), b = need_tensor(state, b_);
    if (a.dtype() != Dtype::float32 || b.dtype() != Dtype::float32) throw DtypeError("kernel_matmul_int8 takes float32");
    if (a.rank() != 2 || b.rank() != 2 || a.shape()[1] != b.shape()[0])
      throw ValueError("kernel_matmul_int8 takes (m, k) and (k, n)");
    const int64_t m = a.shape()[0], k = a.shape()[1], n = b.shape()[1];
    const Tensor out(Spec{Dtype::float32, {m, n}});
    const auto bias = maybe_floats(state, bias_, {n});
    const auto residual = maybe_floats(state, residual_, {m, n});
    Product product{static_cast<size_t>(m), static_cast<size_t>(n), static_cast<size_t>(k), a.as<float>(),
                    a.strides()[0], a.strides()[1], out.as<float>(), n};
    product.activation = activation_named(activation);
    product.low = static_cast<float>(low);
    product.high = static_cast<float>(high);
    product.residual = data_of(residual);
    product.residual_row = n;
    if (product.k > int8_k_max) throw ValueError("k is at most 65536, or sums of 8-bit products would overflow");
    const auto packed = allocate(static_cast<int64_t>(packed_int8_bytes(product.k, product.n, kernels) + 64));
    const auto workspace = allocate(static_cast<int64_t>(product_int8_workspace_bytes(product) + 64));
    pack_right_int8(b.as<float>(), b.strides()[0], b.strides()[1], data_of(bias), product.k, product.n, packed.get(),
                    kernels);
    const double seconds =
        timing.fastest(kernels, [&](const Run& run) { multiply_int8(product, packed.get(), workspace.get(), run); });
    return result(state, out, seconds);
  });
}

PyObject* matmul_each(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a", "b", "scale", "threads", "repeats", "level", nullptr};
    PyObject *a_, *b_;
    const char* level = nullptr;
    double scale = 1;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OO|$diiz:kernel_matmul_each", const_cast<char**>(keywords), &a_, &b_,
                                     &scale, &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor a = need_tensor(state, a_), b = need_tensor(state, b_);  // any strides
    if (a.dtype() != Dtype::float32 || b.dtype() != Dtype::float32) throw DtypeError("kernel_matmul_each takes float32");
    if (a.rank() != 3 || b.rank() != 3 || a.shape()[0] != b.shape()[0] || a.shape()[2] != b.shape()[1])
      throw ValueError("kernel_matmul_each takes (batch, m, k) and (batch, k, n)");
    const int64_t batch = a.shape()[0], m = a.shape()[1], k = a.shape()[2], n = b.shape()[2];
    const Tensor out(Spec{Dtype::float32, {batch, m, n}});
    const Products products{static_cast<size_t>(batch), static_cast<size_t>(m), static_cast<size_t>(n),
                            static_cast<size_t>(k), a.as<float>(), a.strides()[0], a.strides()[1], a.strides()[2],
                            b.as<float>(), b.strides()[0], b.strides()[1], b.strides()[2], out.as<float>(), m * n, n,
                            static_cast<float>(scale)};
    const Floats workspace(products_workspace_floats(products, kernels, timing.threads));
    const double seconds =
        timing.fastest(kernels, [&](const Run& run) { multiply_each(products, workspace.at, run); });
    return result(state, out, seconds);
  });
}

// --- pooling, rows and chains -----------------------------------------------------------------------------------

PyObject* pool2d(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "kernel", "strides", "dilations", "pads", "out", "maximum", "count_pads",
                                           "blocked", "threads", "repeats", "level", nullptr};
    PyObject *x_, *kernel_, *strides_, *dilations_, *pads_, *out_;
    int maximum = 1, count_pads = 0, blocked = 0;
    const char* level = nullptr;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OOOOOO|$pppiiz:kernel_pool2d", const_cast<char**>(keywords), &x_,
                                     &kernel_, &strides_, &dilations_, &pads_, &out_, &maximum, &count_pads, &blocked,
                                     &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor x = floats_of(state, x_, 4);
    const Dims kernel = dims_from(kernel_), strides = dims_from(strides_), dilations = dims_from(dilations_),
               pads = dims_from(pads_), size = dims_from(out_);
    if (kernel.rank() != 2 || strides.rank() != 2 || dilations.rank() != 2 || pads.rank() != 4 || size.rank() != 2)
      throw ValueError("kernel, strides, dilations and out are two numbers, pads four");
    const auto dim = [](int64_t n) { return static_cast<size_t>(n); };
    const Pooling p{maximum != 0, blocked != 0, count_pads != 0, dim(x.shape()[0]), dim(x.shape()[1]),
                    dim(x.shape()[2]), dim(x.shape()[3]), at_least(size[0], 0, "out"), at_least(size[1], 0, "out"),
                    at_least(kernel[0], 1, "a kernel"), at_least(kernel[1], 1, "a kernel"),
                    at_least(strides[0], 1, "a stride"), at_least(strides[1], 1, "a stride"),
                    at_least(dilations[0], 1, "a dilation"), at_least(dilations[1], 1, "a dilation"),
                    at_least(pads[0], 0, "a pad"), at_least(pads[1], 0, "a pad"), at_least(pads[2], 0, "a pad"),
                    at_least(pads[3], 0, "a pad")};
    const Tensor out(Spec{Dtype::float32, {x.shape()[0], x.shape()[1], size[0], size[1]}});
    const Laid in_laid(p.blocked, p.batch, p.channels, p.in_height, p.in_width, kernels);
    const Laid out_laid(p.blocked, p.batch, p.channels, p.out_height, p.out_width, kernels);
    const Picture plain_in = plain_picture(p.channels, p.in_height, p.in_width);
    const Run alone{kernels};
    const float* in = x.as<float>();
    float* made = out.as<float>();
    if (p.blocked) {
      to_blocked(in, plain_in, in_laid.data.at, in_laid.picture, p.batch, p.channels, p.in_height, p.in_width, alone);
      in = in_laid.data.at;
      made = out_laid.data.at;
    }
    const double seconds = timing.fastest(
        kernels, [&](const Run& run) { pool_picture(p, in, in_laid.picture, made, out_laid.picture, run); });
    if (p.blocked)
      to_plain(made, out_laid.picture, out.as<float>(), plain_picture(p.channels, p.out_height, p.out_width), p.batch,
               p.channels, p.out_height, p.out_width, alone);
    return result(state, out, seconds);
  });
}

PyObject* layer_norm(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "residual", "scale", "shift", "epsilon", "threads", "repeats", "level",
                                           nullptr};
    PyObject *x_, *residual_ = Py_None, *scale_ = Py_None, *shift_ = Py_None;
    double epsilon = 1e-5;
    const char* level = nullptr;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O|OOO$diiz:kernel_layer_norm", const_cast<char**>(keywords), &x_,
                                     &residual_, &scale_, &shift_, &epsilon, &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Tensor x = floats_of(state, x_, 2), out(x.spec());
    const int64_t columns = x.shape()[1];
    const auto residual = maybe_floats(state, residual_, x.shape());
    const auto scale = maybe_floats(state, scale_, {columns}), shift = maybe_floats(state, shift_, {columns});
    const LayerNorm norm{static_cast<size_t>(x.shape()[0]), static_cast<size_t>(columns), static_cast<float>(epsilon),
                         x.as<float>(), data_of(residual), data_of(scale), data_of(shift), out.as<float>(), nullptr};
    const double seconds = timing.fastest(kernels, [&](const Run& run) { normalize(norm, run); });
    return result(state, out, seconds);
  });
}

PyObject* softmax_rows(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "threads", "repeats", "level", nullptr};
    PyObject* x_;
    const char* level = nullptr;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O|$iiz:kernel_softmax", const_cast<char**>(keywords), &x_,
                                     &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Tensor x = floats_of(state, x_, 2), out(x.spec());
    const double seconds = timing.fastest(kernels_from(level), [&](const Run& run) {
      softmax(x.as<float>(), out.as<float>(), static_cast<size_t>(x.shape()[0]), static_cast<size_t>(x.shape()[1]), run);
    });
    return result(state, out, seconds);
  });
}

ChainOp chain_op_named(const std::string& name) {
  static constexpr const char* names[] = {"add",     "subtract", "multiply", "divide", "maximum",     "minimum",
                                          "activate", "negative", "absolute", "square", "square_root", "reciprocal",
                                          "logarithm", "power"};
  for (size_t i = 0; i < std::size(names); ++i)
    if (name == names[i]) return static_cast<ChainOp>(i);
  throw ValueError("no step '" + name + "' of a chain");
}

std::vector<ChainStep> chain_steps(PyObject* steps) {
  const Owned all(PySequence_Tuple(steps));
  std::vector<ChainStep> made;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i) {
    const char *op, *activation;
    unsigned char a, b, to;
    double low, high;
    if (!PyArg_ParseTuple(PyTuple_GET_ITEM(all.get(), i), "sbbbsdd", &op, &a, &b, &to, &activation, &low, &high))
      throw PythonError{};
    made.push_back({chain_op_named(op), a, b, to, activation_named(activation), static_cast<float>(low),
                    static_cast<float>(high)});
  }
  return made;
}

PyObject* chain(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"inputs", "steps", "shape", "threads", "repeats", "level", nullptr};
    PyObject *inputs_, *steps_, *shape_;
    const char* level = nullptr;
    Timing timing;
    if (!PyArg_ParseTupleAndKeywords(args, names, "OOO|$iiz:kernel_chain", const_cast<char**>(keywords), &inputs_,
                                     &steps_, &shape_, &timing.threads, &timing.repeats, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const Dims shape = dims_from(shape_);
    if (shape.rank() != 3) throw ValueError("a chain has three axes: outer, middle, inner");
    const Tensor out(Spec{Dtype::float32, shape});
    const Owned all(PySequence_Tuple(inputs_));
    std::vector<Tensor> held;
    std::vector<ChainInput> inputs;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i) {
      held.push_back(need_tensor(state, PyTuple_GET_ITEM(all.get(), i)).expanded(shape));
      if (held.back().dtype() != Dtype::float32) throw DtypeError("a chain takes float32");
      const Dims& steps = held.back().strides();
      inputs.push_back({held.back().as<float>(), steps[0], steps[1], shape[2] == 1 ? 0 : steps[2]});
    }
    const std::vector<ChainStep> steps = chain_steps(steps_);
    const auto dim = [&](int axis) { return static_cast<size_t>(shape[axis]); };
    const Chain made{dim(0), dim(1), dim(2), inputs, steps, out.as<float>()};
    if (!chain_fits(made)) throw ValueError("the chain reads what is not written, or is too long");
    const double seconds = timing.fastest(kernels, [&](const Run& run) { run_chain(made, run); });
    return result(state, out, seconds);
  });
}

PyObject* activate(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "activation", "low", "high", "level", nullptr};
    PyObject* x_;
    const char *activation = nullptr, *level = nullptr;
    double low = 0, high = 0;
    if (!PyArg_ParseTupleAndKeywords(args, names, "Os|dd$z:kernel_activate", const_cast<char**>(keywords), &x_,
                                     &activation, &low, &high, &level))
      throw PythonError{};
    const Tensor x = floats_of(state, x_, 1), out(x.spec());
    kernels_from(level).activate_line(activation_named(activation), x.as<float>(), out.as<float>(),
                                      static_cast<size_t>(x.size()), static_cast<float>(low), static_cast<float>(high));
    return wrap(state, out);
  });
}

// Gflop/s of a core that only multiplies and adds, over about `rounds` rounds.
PyObject* peak(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"rounds", "level", nullptr};
    int rounds = 300'000;
    const char* level = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, names, "|$iz:kernel_peak", const_cast<char**>(keywords), &rounds, &level))
      throw PythonError{};
    const Kernels& kernels = kernels_from(level);
    const size_t count = at_least(rounds, 1, "rounds");
    double seconds = 0;
    float made = 0;
    {
      const Released released;
      const auto begin = std::chrono::steady_clock::now();
      made = kernels.multiply_only(count);
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    if (!(made > 0)) throw std::logic_error("the sums of a peak cannot be");
    return PyFloat_FromDouble(2.0 * 12 * kernels.lanes * static_cast<double>(count) / seconds / 1e9);
  });
}

// (lanes, vectors of a panel, rows of a tile by vectors) of a level: what a plan's block parameters follow from.
PyObject* tiles(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"level", nullptr};
    const char* level = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, names, "|z:kernel_tiles", const_cast<char**>(keywords), &level))
      throw PythonError{};
    const Kernels& k = kernels_from(level);
    return Py_BuildValue("(ii(iiiii))", k.lanes, k.tile_vectors, k.tile_rows[0], k.tile_rows[1], k.tile_rows[2],
                         k.tile_rows[3], k.tile_rows[4]);
  });
}

// --- the pool ---------------------------------------------------------------------------------------------------

// What a test sees of a round: how often each piece ran, and which worker had it last.
struct Round {
  Pool& pool;
  std::vector<std::atomic<int>> times;
  std::vector<std::atomic<int>> workers;
  std::atomic<bool> cancelled{false};
  size_t cancel_at, nested;

  static void piece(void* context, size_t index, int worker) {
    Round& round = *static_cast<Round*>(context);
    round.times[index].fetch_add(1);
    round.workers[index].store(worker);
    if (index == round.cancel_at) round.cancelled.store(true);
    if (round.nested > 0) {
      std::atomic<size_t> inner{0};
      const auto count = [](void* at, size_t, int) { static_cast<std::atomic<size_t>*>(at)->fetch_add(1); };
      round.pool.run(round.nested, count, &inner, nullptr);
      if (inner.load() != round.nested) round.times[index].fetch_add(1'000);  // a piece inside was lost
    }
  }
};

PyObject* counts(const std::vector<std::atomic<int>>& values) {
  Owned out(PyTuple_New(static_cast<Py_ssize_t>(values.size())));
  for (size_t i = 0; i < values.size(); ++i)
    PyTuple_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(PyLong_FromLong(values[i].load())).release());
  return out.release();
}

PyObject* pool_round(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"threads", "pieces", "cancel_at", "nested", "cores", nullptr};
    int threads = 1, pieces = 1, cancel_at = -1, nested = 0;
    PyObject* cores_ = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, names, "ii|$iiO:kernel_pool", const_cast<char**>(keywords), &threads,
                                     &pieces, &cancel_at, &nested, &cores_))
      throw PythonError{};
    if (threads < 1 || threads > pool_threads_max) throw ValueError("threads are 1 to 64");
    std::vector<int> cores;
    if (cores_ != nullptr)
      for (int64_t core : dims_from(cores_)) cores.push_back(static_cast<int>(core));
    const size_t count = at_least(pieces, 0, "pieces");
    bool finished = false;
    std::vector<std::atomic<int>> times(count), workers(count);
    {
      const Released released;
      try {
        Pool pool(threads, cores);
        Round round{pool, std::move(times), std::move(workers), {}, static_cast<size_t>(cancel_at),
                    at_least(nested, 0, "nested pieces")};
        finished = pool.run(count, Round::piece, &round, &round.cancelled);
        times = std::move(round.times);
        workers = std::move(round.workers);
      } catch (const std::system_error& error) {
        throw ValueError(error.what());
      } catch (const std::invalid_argument& error) {
        throw ValueError(error.what());
      }
    }
    const Owned ran(counts(times)), by(counts(workers));
    return Py_BuildValue("(NOO)", PyBool_FromLong(finished), ran.get(), by.get());
  });
}

}  // namespace

PyMethodDef kernel_functions[] = {
    {"kernel_conv2d", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(conv2d)),
     METH_VARARGS | METH_KEYWORDS, "A convolution by one algorithm: (result, seconds of the fastest run)."},
    {"kernel_matmul", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(matmul)),
     METH_VARARGS | METH_KEYWORDS, "A matrix product with a packed right side: (result, seconds of the fastest run)."},
    {"kernel_matmul_int8", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(matmul_int8)),
     METH_VARARGS | METH_KEYWORDS, "A product of both sides in 8 bits: (result, seconds of the fastest run)."},
    {"kernel_matmul_each", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(matmul_each)),
     METH_VARARGS | METH_KEYWORDS, "Products of many matrices: (result, seconds of the fastest run)."},
    {"kernel_pool2d", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(pool2d)),
     METH_VARARGS | METH_KEYWORDS, "Pooling of pictures: (result, seconds of the fastest run)."},
    {"kernel_layer_norm", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(layer_norm)),
     METH_VARARGS | METH_KEYWORDS, "Layer normalisation of rows: (result, seconds of the fastest run)."},
    {"kernel_softmax", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(softmax_rows)),
     METH_VARARGS | METH_KEYWORDS, "Softmax of rows: (result, seconds of the fastest run)."},
    {"kernel_chain", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(chain)),
     METH_VARARGS | METH_KEYWORDS, "A chain of elementwise steps: (result, seconds of the fastest run)."},
    {"kernel_activate", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(activate)),
     METH_VARARGS | METH_KEYWORDS, "An activation over a vector."},
    {"kernel_peak", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(peak)), METH_VARARGS | METH_KEYWORDS,
     "Gflop/s of a core that only multiplies and adds."},
    {"kernel_tiles", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(tiles)), METH_VARARGS | METH_KEYWORDS,
     "(lanes, vectors of a panel, rows of a tile by vectors) of a level."},
    {"kernel_pool", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(pool_round)),
     METH_VARARGS | METH_KEYWORDS, "One round of a pool: (finished, times each piece ran, its worker)."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace shoal::binding
