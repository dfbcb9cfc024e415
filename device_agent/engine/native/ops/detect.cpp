// Boxes that do not overlap too much; and determinants.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/op.h"

namespace shoal {

namespace {

struct Box {
  float top, left, bottom, right;
  float area() const { return (bottom - top) * (right - left); }
};

Box box_at(const float* x, bool centre) {
  if (centre) return {x[1] - x[3] / 2, x[0] - x[2] / 2, x[1] + x[3] / 2, x[0] + x[2] / 2};
  return {std::min(x[0], x[2]), std::min(x[1], x[3]), std::max(x[0], x[2]), std::max(x[1], x[3])};
}

float overlap(const Box& a, const Box& b) {
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  const float width = std::min(a.right, b.right) - std::max(a.left, b.left);
  if (height <= 0 || width <= 0) return 0;
  return height * width / (a.area() + b.area() - height * width);
}

int64_t most_boxes(const Op& op, const Dims& scores) {
  return std::clamp<int64_t>(op.integer(0), 0, scores[2]) * scores[0] * scores[1];
}

}  // namespace

std::vector<Spec> infer_suppression(const Op& op, Specs inputs) {
  const Dims &boxes = inputs[0].shape, &scores = inputs[1].shape;
  if (inputs[0].dtype != Dtype::float32 || inputs[1].dtype != Dtype::float32) refuse_dtype(op, inputs[0].dtype, "float32");
  if (boxes.rank() != 3 || scores.rank() != 3 || boxes[0] != scores[0] || boxes[1] != scores[2] || boxes[2] != 4)
    throw ValueError("non_max_suppression of boxes " + text_of(boxes) + " with scores " + text_of(scores));
  return {{Dtype::int64, {most_boxes(op, scores), 3}}, {Dtype::int64, {1}}};
}

// boxes (batch, boxes, 4), scores (batch, classes, boxes) -> rows of (batch, class, box) kept, best first; how many.
void execute_suppression(const Op& op, Tensors inputs, Tensors outputs, const Kernels&) {
  const Tensor boxes = contiguous(inputs[0]), scores = contiguous(inputs[1]);
  const int64_t n = scores.shape()[2], classes = scores.shape()[1];
  const float most_overlap = static_cast<float>(op.number(2)), least_score = static_cast<float>(op.number(3));
  int64_t* to = outputs[0].as<int64_t>();
  int64_t kept = 0;
  for (int64_t row = 0; row < scores.shape()[0] * classes; ++row) {
    const float* score = scores.as<float>() + row * n;
    std::vector<int64_t> order;
    for (int64_t i = 0; i < n; ++i)
      if (score[i] > least_score) order.push_back(i);
    std::stable_sort(order.begin(), order.end(), [score](int64_t i, int64_t j) { return score[i] > score[j]; });
    std::vector<Box> chosen;
    for (int64_t i : order) {
      if (static_cast<int64_t>(chosen.size()) >= op.integer(0)) break;
      const Box box = box_at(boxes.as<float>() + (row / classes * n + i) * 4, op.integer(1) != 0);
      if (std::any_of(chosen.begin(), chosen.end(), [&](const Box& other) { return overlap(box, other) > most_overlap; }))
        continue;
      chosen.push_back(box);
      *to++ = row / classes;
      *to++ = row % classes;
      *to++ = i;
      ++kept;
    }
  }
  *outputs[1].as<int64_t>() = kept;
}

Spec infer_determinant(const Op& op, Specs inputs) {
  const Dims& shape = inputs[0].shape;
  if (!is_float(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "float32 or float64");
  if (shape.rank() < 2 || shape[shape.rank() - 1] != shape[shape.rank() - 2])
    throw ValueError("a determinant is of square matrices, not " + text_of(shape));
  return {inputs[0].dtype, Dims(std::span(shape.begin(), shape.end() - 2))};
}

// Gaussian elimination with row pivots, in double.
void execute_determinant(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const int64_t n = x.shape()[x.rank() - 1];
  std::vector<double> a(static_cast<size_t>(n * n));
  const auto at = [&](int64_t i, int64_t j) -> double& { return a[static_cast<size_t>(i * n + j)]; };
  const bool wide = x.dtype() == Dtype::float64;
  for (int64_t m = 0; m < out.size(); ++m) {
    for (int64_t i = 0; i < n * n; ++i)
      a[static_cast<size_t>(i)] = wide ? x.as<double>()[m * n * n + i] : static_cast<double>(x.as<float>()[m * n * n + i]);
    double product = 1;
    for (int64_t k = 0; k < n && product != 0; ++k) {
      int64_t best = k;
      for (int64_t i = k + 1; i < n; ++i)
        if (std::fabs(at(i, k)) > std::fabs(at(best, k))) best = i;
      if (best != k) {
        for (int64_t j = 0; j < n; ++j) std::swap(at(k, j), at(best, j));
        product = -product;
      }
      product *= at(k, k);
      for (int64_t i = k + 1; at(k, k) != 0 && i < n; ++i) {
        const double share = at(i, k) / at(k, k);
        for (int64_t j = k; j < n; ++j) at(i, j) -= share * at(k, j);
      }
    }
    if (wide) out.as<double>()[m] = product;
    else out.as<float>()[m] = static_cast<float>(product);
  }
}

}  // namespace shoal
