// Pictures in another size: (height, width, channels), each output pixel's centre at the same share of the picture
// (half-pixel centres, as ONNX's default and OpenCV).
//
// nearest: the pixel under the centre. linear: the two pixels next to the centre, by distance (as OpenCV's INTER_LINEAR).
// smooth: as linear when growing; when shrinking, all pixels that the output pixel covers, by a triangle as wide as the
// shrinking (antialiasing, as PIL's BILINEAR and ONNX's antialias=1). Rows and columns are separable: a pass a direction.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/op.h"

namespace shoal {

namespace {

// For each output place: where its inputs start, and their weights, which sum to 1.
struct Taps {
  std::vector<int64_t> start;
  std::vector<std::vector<float>> weights;
};

Taps nearest_taps(int64_t from, int64_t to) {
  Taps taps;
  const double step = static_cast<double>(from) / static_cast<double>(to);
  KillWatch watch;
  for (int64_t i = 0; i < to; ++i) {
    const auto at = static_cast<int64_t>((static_cast<double>(i) + 0.5) * step);
    taps.start.push_back(std::min(at, from - 1));
    taps.weights.push_back({1.0f});
    watch.spend(8);
  }
  return taps;
}

Taps triangle_taps(int64_t from, int64_t to, bool antialias) {
  Taps taps;
  KillWatch watch;
  const double step = static_cast<double>(from) / static_cast<double>(to), reach = antialias ? std::max(step, 1.0) : 1.0;
  for (int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * step - 0.5;
    const auto low = std::max<int64_t>(0, static_cast<int64_t>(std::ceil(centre - reach)));
    const auto high = std::min<int64_t>(from - 1, static_cast<int64_t>(std::floor(centre + reach)));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = low; j <= high; ++j) {
      weights.push_back(std::max(0.0, 1.0 - std::fabs(static_cast<double>(j) - centre) / reach));
      sum += weights.back();
    }
    taps.start.push_back(low);
    watch.spend(high - low + 8);
    std::vector<float>& kept = taps.weights.emplace_back();
    for (double weight : weights) kept.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

enum Kind : int64_t { nearest, smooth, linear };

// About what the taps of one direction hold, which is charged to the run as tensors are.
int64_t taps_bytes(int64_t from, int64_t to) {
  constexpr int64_t a_place = sizeof(int64_t) + sizeof(std::vector<float>) + 48;  // its weights lie apart
  return to * a_place + from * 2 * static_cast<int64_t>(sizeof(double));
}

Taps taps_of(int64_t kind, int64_t from, int64_t to) {
  return kind == nearest ? nearest_taps(from, to) : triangle_taps(from, to, kind == smooth);
}

// x (rows, from, inner) -> out (rows, to, inner) along the middle axis.
void resample(const float* x, float* out, int64_t rows, int64_t from, int64_t inner, const Taps& taps) {
  const auto to = static_cast<int64_t>(taps.start.size());
  KillWatch watch;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t i = 0; i < to; ++i) {
      const std::vector<float>& weights = taps.weights[static_cast<size_t>(i)];
      in_pieces(inner, watch, [&](int64_t at, int64_t count) {
        float* line = out + (row * to + i) * inner + at;
        const float* source = x + (row * from + taps.start[static_cast<size_t>(i)]) * inner + at;
        std::fill(line, line + count, 0.0f);
        for (float weight : weights) {
          for (int64_t c = 0; c < count; ++c) line[c] += weight * source[c];
          source += inner;
          watch.spend(count);
        }
      });
    }
}

}  // namespace

int64_t resize_kind(const std::string& name) {
  if (name == "nearest") return nearest;
  if (name == "smooth") return smooth;
  if (name == "linear") return linear;
  throw ValueError("resize has no kind '" + name + "'; use nearest, smooth or linear");
}

Spec infer_resize(const Op& op, Specs inputs) {
  const Spec& x = inputs[0];
  if (x.dtype != Dtype::float32) refuse_dtype(op, x.dtype, "float32");
  if (x.shape.rank() != 3) throw ValueError("resize takes (height, width, channels), not shape " + text_of(x.shape));
  if (op.integer(2) < nearest || op.integer(2) > linear) throw ValueError("resize of an unknown kind");
  if (op.integer(0) < 1 || op.integer(1) < 1) throw ValueError("resize makes pictures of at least one pixel");
  if (x.shape[0] == 0 || x.shape[1] == 0) throw ValueError("resize of a picture without pixels");
  return {Dtype::float32, Dims{op.integer(0), op.integer(1), x.shape[2]}};
}

void execute_resize(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const int64_t h = x.shape()[0], w = x.shape()[1], c = x.shape()[2], height = out.shape()[0], width = out.shape()[1];
  const int64_t kind = op.integer(2);
  const Charge taps(taps_bytes(w, width) + taps_bytes(h, height));
  const Tensor narrow(Spec{Dtype::float32, Dims{h, width, c}});
  resample(x.as<float>(), narrow.as<float>(), h, w, c, taps_of(kind, w, width));
  resample(narrow.as<float>(), out.as<float>(), 1, h, width * c, taps_of(kind, h, height));
}

}  // namespace shoal
