// Operators that read between elements: interpolation along an axis, sampling at given places, regions of interest.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ops/op.h"

namespace shoal {

namespace {

void need_float32(const Op& op, Specs inputs) {
  for (const Spec& input : inputs)
    if (input.dtype != Dtype::float32) refuse_dtype(op, input.dtype, "float32");
}

}  // namespace

Spec infer_interpolate(const Op& op, Specs inputs) {
  const int axis = axis_within(op.integer(0), inputs[0].shape.rank());
  if (inputs[0].dtype != Dtype::float32 || inputs[1].dtype != Dtype::int64 || inputs[2].dtype != Dtype::float32)
    throw DtypeError("interpolate takes float32, int64 places and float32 weights");
  if (inputs[1].shape.rank() != 2 || !(inputs[1].shape == inputs[2].shape))
    throw ValueError("interpolate's places and weights are (outputs, taps)");
  Spec out = inputs[0];
  out.shape[axis] = inputs[1].shape[0];
  return out;
}

// out[.., o, ..] = sum over taps of weights[o, tap] * x[.., places[o, tap], ..]
void execute_interpolate(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]), places = contiguous(inputs[1]), weights = contiguous(inputs[2]);
  const int axis = axis_within(op.integer(0), x.rank());
  const int64_t n = x.shape()[axis], count = places.shape()[0], taps = places.shape()[1];
  int64_t after = 1;
  for (int i = axis + 1; i < x.rank(); ++i) after *= x.shape()[i];
  for (int64_t i = 0; i < places.size(); ++i) index_within(places.as<int64_t>()[i], n);
  const int64_t before = count * after ? out.size() / (count * after) : 0;
  for (int64_t row = 0; row < before; ++row)
    for (int64_t o = 0; o < count; ++o) {
      float* to = out.as<float>() + (row * count + o) * after;
      std::fill(to, to + after, 0.0f);
      for (int64_t tap = 0; tap < taps; ++tap) {
        const float weight = weights.as<float>()[o * taps + tap];
        const float* from = x.as<float>() + (row * n + index_within(places.as<int64_t>()[o * taps + tap], n)) * after;
        if (weight != 0.0f)
          for (int64_t i = 0; i < after; ++i) to[i] += weight * from[i];
      }
    }
}

namespace {

enum class Kind : int64_t { nearest, linear, cubic };
enum class Outside : int64_t { zero, border, reflect };
constexpr int taps_max = 4;

struct Taps {
  int count = 0;
  std::array<int64_t, taps_max> at{};  // -1: outside, worth zero
  std::array<float, taps_max> weight{};
};

double reflected(double x, double low, double high) {
  const double range = high - low;
  if (range <= 0) return low;
  double over = std::fmod(std::fabs(x - low), 2 * range);
  if (over > range) over = 2 * range - over;
  return low + over;
}

struct Sampler {
  Kind kind;
  Outside outside;
  bool align_corners;

  double inside(double x, int64_t n) const {
    if (outside == Outside::border) return std::clamp(x, 0.0, static_cast<double>(n - 1));
    if (outside == Outside::reflect) {
      const double high = static_cast<double>(n) - (align_corners ? 1.0 : 0.5), low = align_corners ? 0.0 : -0.5;
      return std::clamp(reflected(x, low, high), 0.0, static_cast<double>(n - 1));
    }
    return x;
  }

  int64_t index(double x, int64_t n) const {
    const double at = inside(x, n);
    return at >= 0 && at <= static_cast<double>(n - 1) ? static_cast<int64_t>(at) : -1;
  }

  // `share` in [-1, 1] over an axis of n elements.
  Taps taps(float share, int64_t n) const {
    const double size = static_cast<double>(n);
    const double x = align_corners ? (static_cast<double>(share) + 1) / 2 * (size - 1)
                                   : ((static_cast<double>(share) + 1) * size - 1) / 2;
    if (!(std::fabs(x) < 1e9)) return {};
    Taps out;
    if (kind == Kind::nearest) return {1, {index(std::nearbyint(inside(x, n)), n)}, {1.0f}};
    if (kind == Kind::linear) {
      const double at = inside(x, n), low = std::floor(at);
      const auto part = static_cast<float>(at - low);
      return {2, {index(low, n), index(low + 1, n)}, {1 - part, part}};
    }
    const double low = std::floor(x), t = x - low, a = -0.75;
    const auto near = [a](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
    const auto far = [a](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
    out.count = 4;
    for (int i = 0; i < 4; ++i) out.at[static_cast<size_t>(i)] = index(low - 1 + i, n);
    out.weight = {static_cast<float>(far(t + 1)), static_cast<float>(near(t)), static_cast<float>(near(1 - t)),
                  static_cast<float>(far(2 - t))};
    return out;
  }
};

// The weighted sum over all combinations of taps; `axes` from the first to the last.
float sum_of(const float* x, const Dims& shape, const std::array<Taps, 3>& taps, int axes) {
  double total = 0;
  int combinations = 1;
  for (int i = 0; i < axes; ++i) combinations *= taps[static_cast<size_t>(i)].count;
  for (int which = 0; which < combinations; ++which) {
    int64_t at = 0;
    double weight = 1;
    int rest = which;
    bool inside = true;
    for (int i = 0; i < axes; ++i) {
      const Taps& axis = taps[static_cast<size_t>(i)];
      const auto tap = static_cast<size_t>(rest % axis.count);
      rest /= axis.count;
      inside = inside && axis.at[tap] >= 0;
      at = at * shape[2 + i] + axis.at[tap];
      weight *= static_cast<double>(axis.weight[tap]);
    }
    if (inside && weight != 0) total += weight * static_cast<double>(x[at]);
  }
  return static_cast<float>(total);
}

}  // namespace

Spec infer_grid_sample(const Op& op, Specs inputs) {
  need_float32(op, inputs);
  const Dims &x = inputs[0].shape, &grid = inputs[1].shape;
  const int axes = x.rank() - 2;
  if (axes < 1 || axes > 3 || grid.rank() != x.rank() || grid[0] != x[0] || grid[grid.rank() - 1] != axes)
    throw ValueError("grid_sample of " + text_of(x) + " at " + text_of(grid));
  if (op.integer(0) < 0 || op.integer(0) > 2 || op.integer(1) < 0 || op.integer(1) > 2)
    throw ValueError("grid_sample has no such kind");
  for (int i = 0; i < axes; ++i)
    if (x[2 + i] == 0) throw ValueError("grid_sample of an empty picture");
  Dims out{x[0], x[1]};
  for (int i = 0; i < axes; ++i) out.push(grid[1 + i]);
  return {Dtype::float32, out};
}

// x (N,C,...), grid (N,...,axes) with the last axis first, in [-1, 1] -> (N,C,...)
void execute_grid_sample(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]), grid = contiguous(inputs[1]);
  const Sampler sampler{static_cast<Kind>(op.integer(0)), static_cast<Outside>(op.integer(1)), op.integer(2) != 0};
  const int axes = x.rank() - 2;
  int64_t plane = 1, places = 1;
  for (int i = 0; i < axes; ++i) plane *= x.shape()[2 + i], places *= out.shape()[2 + i];
  const int64_t channels = x.shape()[1];
  for (int64_t n = 0; n < x.shape()[0]; ++n)
    for (int64_t p = 0; p < places; ++p) {
      std::array<Taps, 3> taps;
      bool known = true;
      for (int i = 0; i < axes; ++i) {
        auto& axis = taps[static_cast<size_t>(i)];
        axis = sampler.taps(grid.as<float>()[(n * places + p) * axes + (axes - 1 - i)], x.shape()[2 + i]);
        known = known && axis.count > 0;
      }
      for (int64_t c = 0; c < channels; ++c)
        out.as<float>()[(n * channels + c) * places + p] =
            known ? sum_of(x.as<float>() + (n * channels + c) * plane, x.shape(), taps, axes) : 0.0f;
    }
}

namespace {

// Four neighbours of (y, x), or none when it lies outside by more than a pixel.
struct Corners {
  std::array<int64_t, 4> at{};
  std::array<float, 4> weight{};
  bool inside = false;
};

Corners corners_of(float y, float x, int64_t height, int64_t width) {
  if (!(y >= -1.0f && y <= static_cast<float>(height) && x >= -1.0f && x <= static_cast<float>(width))) return {};
  y = std::max(y, 0.0f);
  x = std::max(x, 0.0f);
  const int64_t top = std::min(static_cast<int64_t>(y), height - 1), left = std::min(static_cast<int64_t>(x), width - 1);
  const int64_t bottom = std::min(top + 1, height - 1), right = std::min(left + 1, width - 1);
  const float dy = top == height - 1 ? 0.0f : y - static_cast<float>(top);
  const float dx = left == width - 1 ? 0.0f : x - static_cast<float>(left);
  return {{top * width + left, top * width + right, bottom * width + left, bottom * width + right},
          {(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx},
          true};
}

}  // namespace

Spec infer_roi_align(const Op& op, Specs inputs) {
  if (inputs[0].dtype != Dtype::float32 || inputs[1].dtype != Dtype::float32 || inputs[2].dtype != Dtype::int64)
    throw DtypeError("roi_align takes float32, float32 boxes and int64 pictures");
  const Dims &x = inputs[0].shape, &boxes = inputs[1].shape;
  if (x.rank() != 4 || x[2] < 1 || x[3] < 1 || boxes.rank() != 2 || boxes[1] != 4 ||
      !(inputs[2].shape == Dims{boxes[0]}))
    throw ValueError("roi_align of " + text_of(x) + " at " + text_of(boxes));
  constexpr int64_t most = 1 << 16;
  if (op.integer(0) < 1 || op.integer(1) < 1 || op.integer(0) > most || op.integer(1) > most || op.integer(2) > most)
    throw ValueError("roi_align makes pictures of at least one pixel");
  return {Dtype::float32, {boxes[0], x[1], op.integer(0), op.integer(1)}};
}

// x (N,C,H,W), boxes (R,4), picture of each box (R) -> (R,C,height,width): the mean, or largest, of samples in each cell.
void execute_roi_align(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]), boxes = contiguous(inputs[1]), pictures = contiguous(inputs[2]);
  const int64_t channels = x.shape()[1], h = x.shape()[2], w = x.shape()[3], rows = op.integer(0), columns = op.integer(1);
  const float scale = static_cast<float>(op.number(5)), shift = op.integer(4) ? 0.5f : 0.0f;
  for (int64_t r = 0; r < boxes.shape()[0]; ++r) {
    const float* box = boxes.as<float>() + 4 * r;
    const float left = box[0] * scale - shift, top = box[1] * scale - shift;
    float width = box[2] * scale - shift - left, height = box[3] * scale - shift - top;
    if (!op.integer(4)) width = std::max(width, 1.0f), height = std::max(height, 1.0f);
    const float cell_h = height / static_cast<float>(rows), cell_w = width / static_cast<float>(columns);
    const auto grid = [&](float cell) {
      const int64_t given = op.integer(2);
      return given > 0 ? given : std::clamp<int64_t>(static_cast<int64_t>(std::ceil(std::fabs(cell) < 1e6f ? cell : 0.0f)), 0, 1 << 12);
    };
    const int64_t down = grid(cell_h), across = grid(cell_w);
    const float* picture = x.as<float>() + index_within(pictures.as<int64_t>()[r], x.shape()[0]) * channels * h * w;
    for (int64_t cell = 0; cell < rows * columns; ++cell)
      for (int64_t c = 0; c < channels; ++c) {
        float sum = 0, most = -std::numeric_limits<float>::infinity();
        for (int64_t i = 0; i < down; ++i)
          for (int64_t j = 0; j < across; ++j) {
            const float y = top + static_cast<float>(cell / columns) * cell_h +
                            (static_cast<float>(i) + 0.5f) * cell_h / static_cast<float>(down);
            const float at = left + static_cast<float>(cell % columns) * cell_w +
                             (static_cast<float>(j) + 0.5f) * cell_w / static_cast<float>(across);
            const Corners corners = corners_of(y, at, h, w);
            float value = 0, largest = corners.inside ? -std::numeric_limits<float>::infinity() : 0.0f;
            for (size_t k = 0; corners.inside && k < 4; ++k) {
              const float part = corners.weight[k] * picture[c * h * w + corners.at[k]];
              value += part;
              largest = std::max(largest, part);
            }
            sum += value;
            most = std::max(most, largest);
          }
        const float count = static_cast<float>(std::max<int64_t>(1, down * across));
        out.as<float>()[(r * channels + c) * rows * columns + cell] =
            op.integer(3) ? (down * across ? most : 0.0f) : sum / count;
      }
  }
}

Spec infer_deformable(const Op& op, Specs inputs) {
  need_float32(op, inputs);
  if (op.attributes.size() != 11) throw ValueError("deformable_gather needs its window");
  for (size_t i = 0; i < 11; ++i)
    if (op.integer(i) < 0 || op.integer(i) > (1 << 24)) throw ValueError("deformable_gather's window cannot be");
  const Dims& x = inputs[0].shape;
  const int64_t groups = op.integer(0), window = op.integer(1) * op.integer(2), h = op.integer(9), w = op.integer(10);
  if (x.rank() != 4 || groups < 1 || x[1] % groups || x[2] < 1 || x[3] < 1)
    throw ValueError("deformable_gather takes pictures in groups");
  if (!(inputs[1].shape == Dims{x[0], 2 * groups * window, h, w}) ||
      (inputs.size() == 3 && !(inputs[2].shape == Dims{x[0], groups * window, h, w})))
    throw ValueError("deformable_gather's offsets or mask do not fit");
  return {Dtype::float32, {x[0], x[1] * window, h * w}};
}

// x (N,C,H,W), offsets (N, groups*window*2, h, w), mask (N, groups*window, h, w) -> columns (N, C*window, h*w).
// `window`: height, width, strides, dilations, paddings before, outputs.
void execute_deformable(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]), offsets = contiguous(inputs[1]);
  const Tensor mask = inputs.size() == 3 ? contiguous(inputs[2]) : Tensor();
  const int64_t groups = op.integer(0), kw = op.integer(2), window = op.integer(1) * kw, h = op.integer(9), w = op.integer(10);
  const int64_t channels = x.shape()[1], height = x.shape()[2], width = x.shape()[3], places = h * w;
  for (int64_t row = 0; row < out.size() / std::max<int64_t>(1, places); ++row) {
    const int64_t n = row / (channels * window), c = row / window % channels, k = row % window;
    const int64_t slot = (n * groups + c / (channels / groups)) * window + k;
    for (int64_t p = 0; p < places; ++p) {
      const float* shift = offsets.as<float>() + 2 * slot * places + p;
      const float y = static_cast<float>(p / w * op.integer(3) - op.integer(7) + k / kw * op.integer(5)) + shift[0];
      const float at = static_cast<float>(p % w * op.integer(4) - op.integer(8) + k % kw * op.integer(6)) + shift[places];
      float value = 0;
      if (y > -1 && y < static_cast<float>(height) && at > -1 && at < static_cast<float>(width)) {
        const float top = std::floor(y), left = std::floor(at);
        for (int corner = 0; corner < 4; ++corner) {
          const float py = top + static_cast<float>(corner / 2), px = left + static_cast<float>(corner % 2);
          if (py < 0 || px < 0 || py >= static_cast<float>(height) || px >= static_cast<float>(width)) continue;
          value += (1 - std::fabs(y - py)) * (1 - std::fabs(at - px)) *
                   x.as<float>()[((n * channels + c) * height + static_cast<int64_t>(py)) * width + static_cast<int64_t>(px)];
        }
      }
      if (inputs.size() == 3) value *= mask.as<float>()[slot * places + p];
      out.as<float>()[row * places + p] = value;
    }
  }
}

}  // namespace shoal
