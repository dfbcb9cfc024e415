// Operators that slide a window over one to three axes: convolution and pooling, of any stride, dilation and padding.
//
// Rules: shapes are (batch, channels, axes...). `window` says for each axis of convolution: stride, dilation, padding
// before, padding after; of pooling: size, stride, dilation, padding before, padding after, outputs.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/op.h"

namespace shoal {

namespace {

constexpr int axes_max = 3;
constexpr int64_t columns_bytes = 1 << 20;  // of one panel of columns: it stays in the second cache

// One axis: `out` places, `size` window positions on `in` elements.
struct Axis {
  int64_t in = 1, size = 1, stride = 1, dilation = 1, before = 0, after = 0, out = 1;
};
using Axes = std::array<Axis, axes_max>;  // leading ones are of size 1

void need_sane(const Axis& axis) {
  constexpr int64_t most = 1 << 24;
  if (axis.stride < 1 || axis.dilation < 1 || axis.size < 1 || axis.before < 0 || axis.after < 0 || axis.out < 0 ||
      axis.stride > most || axis.dilation > most || axis.size > most || axis.before > most || axis.after > most ||
      axis.out > most)
    throw ValueError("a window's size, stride, dilation or padding cannot be");
}

Axes convolution_axes(const Op& op, const Dims& x, const Dims& w) {
  const int axes = x.rank() - 2;
  if (axes < 1 || axes > axes_max || w.rank() != x.rank() || op.attributes.size() != 1 + 4 * static_cast<size_t>(axes))
    throw ValueError("convolution of " + text_of(x) + " by " + text_of(w) + " needs one to three axes and their windows");
  Axes out;
  for (int i = 0; i < axes; ++i) {
    Axis& axis = out[static_cast<size_t>(axes_max - axes + i)];
    const size_t at = 1 + 4 * static_cast<size_t>(i);
    axis = {x[2 + i], w[2 + i], op.integer(at), op.integer(at + 1), op.integer(at + 2), op.integer(at + 3), 0};
    need_sane(axis);
    const int64_t room = axis.in + axis.before + axis.after - axis.dilation * (axis.size - 1) - 1;
    if (room < 0) throw ValueError("a convolution's window is larger than its padded input " + text_of(x));
    axis.out = room / axis.stride + 1;
  }
  return out;
}

int64_t outputs_of(const Axes& axes) { return axes[0].out * axes[1].out * axes[2].out; }

// One row of columns: window position (a,b,c) of one channel over output places (from ..., first axis), or zero outside.
template <typename T>
void fill_row(const T* x, const Axes& axes, const std::array<int64_t, 3>& at, int64_t from, int64_t to, T* row) {
  const auto place = [&](size_t i, int64_t o) { return o * axes[i].stride - axes[i].before + at[i] * axes[i].dilation; };
  const int64_t width = axes[2].out;
  for (int64_t line = from; line < to; ++line, row += width) {
    const int64_t z = place(0, line / axes[1].out), y = place(1, line % axes[1].out);
    if (z < 0 || z >= axes[0].in || y < 0 || y >= axes[1].in) {
      std::fill(row, row + width, T{});
      continue;
    }
    const T* source = x + (z * axes[1].in + y) * axes[2].in;
    const int64_t start = place(2, 0), stride = axes[2].stride;
    for (int64_t o = 0; o < width; ++o) {
      const int64_t p = start + o * stride;
      row[o] = p >= 0 && p < axes[2].in ? source[p] : T{};
    }
  }
}

bool is_plain_product(const Axes& axes) {
  return std::all_of(axes.begin(), axes.end(), [](const Axis& a) {
    return a.size == 1 && a.stride == 1 && a.before == 0 && a.after == 0;
  });
}

}  // namespace

Spec infer_convolution(const Op& op, Specs inputs) {
  const Spec &x = inputs[0], &w = inputs[1];
  if (x.dtype != w.dtype || size_of(x.dtype) < 4) refuse_dtype(op, x.dtype, "one type of 32 or 64 bits");
  const Axes axes = convolution_axes(op, x.shape, w.shape);
  const int64_t group = op.integer(0);
  if (group < 1 || w.shape[0] % group || w.shape[1] * group != x.shape[1])
    throw ValueError("convolution of " + text_of(x.shape) + " by " + text_of(w.shape) + " in " + std::to_string(group) +
                     " groups: channels do not match");
  if (inputs.size() == 3 && (inputs[2].dtype != x.dtype || !(inputs[2].shape == Dims{w.shape[0]})))
    throw ValueError("a convolution's bias has one number an output channel");
  Dims shape{x.shape[0], w.shape[0]};
  for (int i = 0; i < x.shape.rank() - 2; ++i) shape.push(axes[static_cast<size_t>(axes_max - (x.shape.rank() - 2) + i)].out);
  return {x.dtype, shape};
}

// x (N,C,...), w (M,C/group,...) -> out (N,M,...): columns of windows, panel by panel, times the weights.
void execute_convolution(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const Tensor x = contiguous(inputs[0]), w = contiguous(inputs[1]);
  const Axes axes = convolution_axes(op, x.shape(), w.shape());
  const int64_t group = op.integer(0), channels = w.shape()[1], filters = w.shape()[0] / group;
  const int64_t window = axes[0].size * axes[1].size * axes[2].size, depth = channels * window;
  const int64_t inner = axes[2].out, lines = axes[0].out * axes[1].out, places = outputs_of(axes);
  const int64_t plane = axes[0].in * axes[1].in * axes[2].in, item = size_of(x.dtype());
  const bool plain = is_plain_product(axes);
  const int64_t panel = plain ? lines : std::max<int64_t>(1, columns_bytes / std::max<int64_t>(1, depth * inner * item));
  const Tensor columns({x.dtype(), {plain ? 0 : depth, plain ? 0 : std::min(panel, lines) * inner}});
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t n = 0; n < x.shape()[0]; ++n)
      for (int64_t g = 0; g < group; ++g) {
        const T* source = x.as<T>() + (n * group + g) * channels * plane;
        T* target = out.as<T>() + (n * group + g) * filters * places;
        const Tensor weights({x.dtype(), {filters, depth}}, w.storage(), w.data() + g * filters * depth * item);
        for (int64_t from = 0; from < lines; from += panel) {
          const int64_t to = std::min(lines, from + panel), width = (to - from) * inner;
          Tensor b;
          if (plain) {
            b = Tensor({x.dtype(), {depth, width}}, x.storage(), reinterpret_cast<std::byte*>(const_cast<T*>(source)));
          } else {
            T* row = columns.as<T>();
            for (int64_t k = 0; k < depth; ++k, row += width) {
              const int64_t p = k % window;
              const std::array<int64_t, 3> at{p / (axes[1].size * axes[2].size), p / axes[2].size % axes[1].size,
                                              p % axes[2].size};
              fill_row(source + k / window * plane, axes, at, from, to, row);
            }
            b = Tensor({x.dtype(), {depth, width}}, columns.storage(), columns.data());
          }
          const Tensor c({x.dtype(), {filters, width}}, Dims{places, 1}, out.storage(),
                         reinterpret_cast<std::byte*>(target + from * inner));
          matrix_product(weights, b, c, 1.0f, false, kernels);
        }
        if (inputs.size() < 3) continue;
        const Tensor bias = contiguous(inputs[2]);
        for (int64_t f = 0; f < filters; ++f)
          for (int64_t p = 0; p < places; ++p)
            target[f * places + p] = static_cast<T>(target[f * places + p] + bias.as<T>()[g * filters + f]);
      }
  });
}

namespace {

enum class Pooling : int64_t { maximum, average, power };
constexpr int64_t counts_padding = 1, column_major = 2, wants_places = 4;

Axes pool_axes(const Op& op, const Dims& x) {
  const int axes = x.rank() - 2;
  if (axes < 1 || axes > axes_max || op.attributes.size() != 3 + 6 * static_cast<size_t>(axes))
    throw ValueError("pooling of " + text_of(x) + " needs one to three axes and their windows");
  Axes out;
  for (int i = 0; i < axes; ++i) {
    const size_t at = 3 + 6 * static_cast<size_t>(i);
    Axis& axis = out[static_cast<size_t>(axes_max - axes + i)];
    axis = {x[2 + i],           op.integer(at),     op.integer(at + 1), op.integer(at + 2),
            op.integer(at + 3), op.integer(at + 4), op.integer(at + 5)};
    need_sane(axis);
  }
  return out;
}

// The window of one output place on one axis: positions [first, last) of those inside the input.
struct Span {
  int64_t start, first, last;
};
Span span_of(const Axis& axis, int64_t o) {
  const int64_t start = o * axis.stride - axis.before;
  const int64_t first = start < 0 ? (-start + axis.dilation - 1) / axis.dilation : 0;
  const int64_t room = axis.in - start;
  const int64_t last = room <= 0 ? 0 : std::min(axis.size, (room + axis.dilation - 1) / axis.dilation);
  return {start, first, std::max(first, last)};
}

// How many positions of the window lie on the padded input.
int64_t padded_count(const Axis& axis, int64_t o) {
  const int64_t room = axis.in + axis.after - (o * axis.stride - axis.before);
  return std::clamp<int64_t>((room + axis.dilation - 1) / axis.dilation, 0, axis.size);
}

struct PoolRun {
  Axes axes;
  Pooling kind;
  int64_t flags;
  double power;
};

template <typename T>
struct Gathered {
  T value;
  int64_t place;
  double sum;
  int64_t count;
};

// Everything under one window.
template <typename T>
Gathered<T> gather(const T* x, const PoolRun& run, const std::array<Span, 3>& spans) {
  Gathered<T> out{std::numeric_limits<T>::lowest(), -1, 0, 0};
  if constexpr (std::is_floating_point_v<T>) out.value = -std::numeric_limits<T>::infinity();
  const auto& axes = run.axes;
  for (int64_t a = spans[0].first; a < spans[0].last; ++a)
    for (int64_t b = spans[1].first; b < spans[1].last; ++b) {
      const int64_t line = ((spans[0].start + a * axes[0].dilation) * axes[1].in + spans[1].start + b * axes[1].dilation) *
                           axes[2].in;
      for (int64_t c = spans[2].first; c < spans[2].last; ++c) {
        const int64_t at = line + spans[2].start + c * axes[2].dilation;
        const T v = x[at];
        ++out.count;
        if (run.kind == Pooling::maximum) {
          if (out.place < 0 || v > out.value || v != v) out.value = v, out.place = at;
        } else if (run.kind == Pooling::average) {
          out.sum += static_cast<double>(v);
        } else {
          out.sum += std::pow(std::fabs(static_cast<double>(v)), run.power);
        }
      }
    }
  return out;
}

int64_t column_major_place(int64_t place, const Axes& axes) {
  const int64_t c = place % axes[2].in, b = place / axes[2].in % axes[1].in, a = place / (axes[2].in * axes[1].in);
  return a + axes[0].in * (b + axes[1].in * c);
}

template <typename T>
void pool_plane(const T* x, const PoolRun& run, int64_t plane_start, T* out, int64_t* places) {
  const auto& axes = run.axes;
  for (int64_t a = 0; a < axes[0].out; ++a)
    for (int64_t b = 0; b < axes[1].out; ++b)
      for (int64_t c = 0; c < axes[2].out; ++c, ++out) {
        const std::array<Span, 3> spans{span_of(axes[0], a), span_of(axes[1], b), span_of(axes[2], c)};
        const Gathered<T> found = gather(x, run, spans);
        if (run.kind == Pooling::maximum) {
          *out = found.value;
          if (places != nullptr && found.place >= 0)
            *places++ = plane_start + (run.flags & column_major ? column_major_place(found.place, axes) : found.place);
        } else if (run.kind == Pooling::average) {
          const int64_t count = run.flags & counts_padding ? padded_count(axes[0], a) * padded_count(axes[1], b) *
                                                                 padded_count(axes[2], c)
                                                           : found.count;
          *out = static_cast<T>(found.sum / static_cast<double>(count));
        } else {
          *out = static_cast<T>(std::pow(found.sum, 1.0 / run.power));
        }
      }
}

}  // namespace

std::vector<Spec> infer_pool(const Op& op, Specs inputs) {
  const Axes axes = pool_axes(op, inputs[0].shape);
  if (is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers that are computed with");
  if (op.integer(0) < 0 || op.integer(0) > static_cast<int64_t>(Pooling::power)) throw ValueError("pool has no such kind");
  Spec out{inputs[0].dtype, {inputs[0].shape[0], inputs[0].shape[1]}};
  const int count = inputs[0].shape.rank() - 2;
  for (int i = 0; i < count; ++i) out.shape.push(axes[static_cast<size_t>(axes_max - count + i)].out);
  return {out, {Dtype::int64, op.integer(1) & wants_places ? out.shape : Dims{0}}};
}

void execute_pool(const Op& op, Tensors inputs, Tensors outputs, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const PoolRun run{pool_axes(op, x.shape()), static_cast<Pooling>(op.integer(0)), op.integer(1),
                    static_cast<double>(op.integer(2))};
  const int64_t plane = run.axes[0].in * run.axes[1].in * run.axes[2].in, places = outputs_of(run.axes);
  int64_t* const found = run.flags & wants_places ? outputs[1].as<int64_t>() : nullptr;
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < x.shape()[0] * x.shape()[1]; ++i)
      pool_plane(x.as<T>() + i * plane, run, i * plane, outputs[0].as<T>() + i * places,
                 found == nullptr ? nullptr : found + i * places);
  });
}

}  // namespace shoal
