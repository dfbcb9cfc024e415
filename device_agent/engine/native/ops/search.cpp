// Operators that look for elements: the largest k, those that are not zero, those that differ.
//
// Rules: how many are found is known only when they are; so the results have room for all, and a count says how many.
#include <algorithm>
#include <numeric>
#include <vector>

#include "ops/op.h"

namespace shoal {

std::vector<Spec> infer_top_k(const Op& op, Specs inputs) {
  Spec values = inputs[0];
  if (is_half(values.dtype)) refuse_dtype(op, values.dtype, "numbers that are computed with");
  const int axis = axis_within(op.integer(0), values.shape.rank());
  const int64_t k = op.integer(1);
  if (k < 0 || k > values.shape[axis])
    throw ValueError("top_k of " + std::to_string(k) + " on an axis of " + std::to_string(values.shape[axis]));
  values.shape[axis] = k;
  return {values, {Dtype::int64, values.shape}};
}

// Sorted, the best first; of equals the first comes first.
void execute_top_k(const Op& op, Tensors inputs, Tensors outputs, const Kernels&) {
  const int axis = axis_within(op.integer(0), inputs[0].rank());
  const int64_t n = inputs[0].shape()[axis], k = op.integer(1);
  if (outputs[0].size() == 0) return;
  const Tensor x = rows_last(inputs[0], 1u << axis);
  Dims shape = x.shape();
  shape[shape.rank() - 1] = k;
  const Tensor values({x.dtype(), shape}), places({Dtype::int64, shape});
  std::vector<int64_t> order(static_cast<size_t>(n));
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t row = 0; row < x.size() / n; ++row) {
      const T* from = x.as<T>() + row * n;
      std::iota(order.begin(), order.end(), int64_t{0});
      const bool largest = op.integer(2) != 0;
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [from, largest](int64_t i, int64_t j) {
        const T a = from[i], b = from[j];
        const bool a_is = a == a, b_is = b == b;
        if (!a_is || !b_is) return a_is != b_is ? b_is == largest : i < j;  // not-a-number counts as the largest
        return a == b ? i < j : largest ? a > b : a < b;
      });
      for (int64_t i = 0; i < k; ++i) {
        values.as<T>()[row * k + i] = from[order[static_cast<size_t>(i)]];
        places.as<int64_t>()[row * k + i] = order[static_cast<size_t>(i)];
      }
    }
  });
  put_rows_back(values, axis, outputs[0]);
  put_rows_back(places, axis, outputs[1]);
}

std::vector<Spec> infer_nonzero(const Op&, Specs inputs) {
  const int64_t most = count_of(inputs[0].shape);
  return {{Dtype::int64, {inputs[0].shape.rank(), most}}, {Dtype::int64, {1}}};
}

// x (any) -> places (rank, most): a column for each element that is not zero, in order; count (1).
void execute_nonzero(const Op&, Tensors inputs, Tensors outputs, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const Dims strides = contiguous_strides(x.shape());
  const int64_t most = x.size();
  auto* places = outputs[0].as<int64_t>();
  int64_t found = 0;
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < most; ++i) {
      if (x.as<T>()[i] == T{}) continue;
      for (int axis = 0; axis < x.rank(); ++axis) places[axis * most + found] = i / strides[axis] % x.shape()[axis];
      ++found;
    }
  });
  *outputs[1].as<int64_t>() = found;
}

std::vector<Spec> infer_unique(const Op& op, Specs inputs) {
  if (inputs[0].shape.rank() != 2) throw ValueError("unique takes rows: (rows, elements)");
  if (is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers that are computed with");
  const Dims rows{inputs[0].shape[0]};
  return {{Dtype::int64, rows}, {Dtype::int64, rows}, {Dtype::int64, rows}, {Dtype::int64, {1}}};
}

// x (rows, elements) -> the first row of each kind, to which kind each row belongs, how many are of it, count of kinds.
void execute_unique(const Op& op, Tensors inputs, Tensors outputs, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const int64_t n = x.shape()[0], width = x.shape()[1];
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), int64_t{0});
  auto *first = outputs[0].as<int64_t>(), *kind = outputs[1].as<int64_t>(), *count = outputs[2].as<int64_t>();
  int64_t kinds = 0;
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const auto row = [&](int64_t i) { return x.as<T>() + i * width; };
    const auto less = [&](int64_t i, int64_t j) {
      return std::lexicographical_compare(row(i), row(i) + width, row(j), row(j) + width);
    };
    std::stable_sort(order.begin(), order.end(), less);
    std::vector<int64_t> heads;  // of each kind in sorted order: its first row
    for (size_t at = 0; at < order.size(); ++at)
      if (at == 0 || less(order[at - 1], order[at])) heads.push_back(order[at]);
    if (!op.integer(0)) std::sort(heads.begin(), heads.end());
    kinds = static_cast<int64_t>(heads.size());
    for (int64_t k = 0; k < kinds; ++k) first[k] = heads[static_cast<size_t>(k)], count[k] = 0;
    for (int64_t i = 0; i < n; ++i) {
      int64_t k = 0;
      while (less(first[k], i) || less(i, first[k])) ++k;
      kind[i] = k;
      ++count[k];
    }
  });
  *outputs[3].as<int64_t>() = kinds;
}

}  // namespace shoal
