// Operators along one axis in which order counts: running sums and sorting.
#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "ops/op.h"

namespace shoal {

Spec infer_cumulative(const Op& op, Specs inputs) {
  const Dtype dtype = inputs[0].dtype;
  if (dtype == Dtype::uint8 || dtype == Dtype::boolean || is_half(dtype)) refuse_dtype(op, dtype, "float32, int32 or int64");
  axis_within(op.integer(0), inputs[0].shape.rank());
  return inputs[0];
}

void execute_cumulative(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), out.rank());
  const int64_t n = out.shape()[axis];
  const Tensor x = rows_last(inputs[0], 1u << axis), made(x.spec());
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
    KillWatch watch;
    for (int64_t row = 0; row < x.size(); row += n) {
      Sum sum = 0;
      in_pieces(n, watch, [&](int64_t at, int64_t count) {
        for (int64_t i = row + at; i < row + at + count; ++i)
          made.as<T>()[i] = static_cast<T>(sum = static_cast<Sum>(sum + x.as<T>()[i]));
      });
    }
  });
  put_rows_back(made, axis, out);
}

void execute_cumulative_product(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), out.rank());
  const int64_t n = out.shape()[axis];
  const Tensor x = rows_last(inputs[0], 1u << axis), made(x.spec());
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t row = 0; row < x.size(); row += n) {
      T product = 1;
      for (int64_t i = row; i < row + n; ++i) made.as<T>()[i] = product = static_cast<T>(product * x.as<T>()[i]);
    }
  });
  put_rows_back(made, axis, out);
}

Spec infer_argsort(const Op& op, Specs inputs) {
  axis_within(op.integer(0), inputs[0].shape.rank());
  return {Dtype::int64, inputs[0].shape};
}

namespace {

// What is not a number comes last in either direction; equals keep their order.
template <typename T>
void sort_row(const T* x, int64_t* places, int64_t n, bool descending, KillWatch& watch) {
  const Charge merging(n * static_cast<int64_t>(sizeof(int64_t)));  // what stable_sort takes beside
  in_pieces(n, watch, [&](int64_t at, int64_t count) { std::iota(places + at, places + at + count, at); });
  std::stable_sort(places, places + n, [x, descending, &watch](int64_t i, int64_t j) {
    watch.spend(1);
    const T a = x[i], b = x[j];
    if (a != a || b != b) return a == a && b != b;
    return descending ? b < a : a < b;
  });
}

}  // namespace

void execute_argsort(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), out.rank());
  const int64_t n = out.shape()[axis];
  const Tensor x = rows_last(inputs[0], 1u << axis);
  const Tensor made(Spec{Dtype::int64, x.shape()});
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    KillWatch watch;
    for (int64_t row = 0; row < x.size(); row += n)
      sort_row(x.as<T>() + row, made.as<int64_t>() + row, n, op.integer(1) != 0, watch);
  });
  put_rows_back(made, axis, out);
}

}  // namespace shoal
