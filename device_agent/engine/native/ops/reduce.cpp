// Operators that make one number, or a distribution, of many.
#include <limits>
#include <type_traits>

#include "ops/op.h"

namespace shoal {

namespace {

// Which axes are reduced; none named means all.
unsigned axes_mask(const Op& op, int rank) {
  const Dims axes = op.dims(1);
  unsigned mask = axes.rank() == 0 ? (1u << rank) - 1 : 0;
  for (int64_t axis : axes) {
    const unsigned bit = 1u << axis_within(axis, rank);
    if (mask & bit) throw ValueError("axes " + text_of(axes) + " name an axis twice");
    mask |= bit;
  }
  return mask;
}

}  // namespace

// The tensor with the masked axes last, contiguous: rows of what is reduced together.
Tensor rows_last(const Tensor& x, unsigned mask) {
  Dims order;
  for (int i = 0; i < x.rank(); ++i)
    if (!(mask & (1u << i))) order.push(i);
  for (int i = 0; i < x.rank(); ++i)
    if (mask & (1u << i)) order.push(i);
  return contiguous(x.transposed(order));
}

void put_rows_back(const Tensor& rows, int axis, const Tensor& out) {
  Dims back;
  for (int i = 0; i < out.rank(); ++i) back.push(i < axis ? i : i == axis ? out.rank() - 1 : i - 1);
  copy_elements(rows.transposed(back), out);
}

namespace {

Dims reduced(const Dims& shape, unsigned mask, bool keep) {
  Dims out;
  for (int i = 0; i < shape.rank(); ++i) {
    if (!(mask & (1u << i))) out.push(shape[i]);
    else if (keep) out.push(1);
  }
  return out;
}

int64_t reduced_count(const Dims& shape, unsigned mask) {
  int64_t n = 1;
  for (int i = 0; i < shape.rank(); ++i)
    if (mask & (1u << i)) n *= shape[i];
  return n;
}

// For types without vector kernels.
template <typename T>
T reduce_plain(Reduce kind, const T* x, size_t n) {
  T made = kind == Reduce::sum ? T{} : x[0];
  for (size_t i = 0; i < n; ++i) {
    if (kind == Reduce::sum) made = static_cast<T>(made + x[i]);
    else if (x[i] != x[i] || (kind == Reduce::maximum ? x[i] > made : x[i] < made)) made = x[i];
  }
  return made;
}

template <typename T>
ReduceKernel<T> reduce_kernel(const Kernels& kernels) {
  if constexpr (std::is_same_v<T, float>) return kernels.reduce_f32;
  else if constexpr (std::is_same_v<T, int32_t>) return kernels.reduce_i32;
  else if constexpr (std::is_same_v<T, int64_t>) return kernels.reduce_i64;
  else return reduce_plain<T>;
}

// One row of any length: what its pieces come to is reduced again.
template <typename T>
T reduce_row(ReduceKernel<T> kernel, Reduce kind, const T* x, int64_t n, KillWatch& watch) {
  T pair[2] = {};
  if (n == 0) return kernel(kind, x, 0);
  in_pieces(n, watch, [&](int64_t at, int64_t count) {
    pair[1] = kernel(kind, x + at, static_cast<size_t>(count));
    pair[0] = at == 0 ? pair[1] : kernel(kind, pair, 2);
  });
  return pair[0];
}

Reduce kind_of(OpId id) {
  if (id == OpId::reduce_max) return Reduce::maximum;
  return id == OpId::reduce_min ? Reduce::minimum : Reduce::sum;
}

// The place of the largest or smallest; the first of equals, and the first that is not a number before all.
template <typename T, typename Beats>
int64_t place_of_best(const T* x, int64_t n, KillWatch& watch, Beats beats) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    watch.spend(1);
    if (x[best] != x[best]) return best;
    if (beats(x[i], x[best]) || x[i] != x[i]) best = i;
  }
  return best;
}

}  // namespace

Spec infer_reduce(const Op& op, Specs inputs) {
  const Spec& x = inputs[0];
  if (op.id == OpId::reduce_mean && !is_float(x.dtype)) refuse_dtype(op, x.dtype, "float32 or float64");
  if (x.dtype == Dtype::uint8 || x.dtype == Dtype::boolean || is_half(x.dtype)) refuse_dtype(op, x.dtype, "float32, int32 or int64");
  const unsigned mask = axes_mask(op, x.shape.rank());
  if ((op.id == OpId::reduce_max || op.id == OpId::reduce_min) && reduced_count(x.shape, mask) == 0)
    throw ValueError("nothing has no largest and no smallest: shape " + text_of(x.shape));
  return {x.dtype, reduced(x.shape, mask, op.integer(0) != 0)};
}

void execute_reduce(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const unsigned mask = axes_mask(op, inputs[0].rank());
  const Tensor x = rows_last(inputs[0], mask);
  const int64_t n = reduced_count(inputs[0].shape(), mask);
  const auto each = [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const auto kernel = reduce_kernel<T>(kernels);
    KillWatch watch;
    for (int64_t row = 0; row < out.size(); ++row) {
      T made = reduce_row(kernel, kind_of(op.id), x.as<T>() + row * n, n, watch);
      if (op.id == OpId::reduce_mean) made = static_cast<T>(made / static_cast<T>(n));
      out.as<T>()[row] = made;
    }
  };
  with_type(out.dtype(), each);
}

Spec infer_argmax(const Op& op, Specs inputs) {
  const int axis = axis_within(op.integer(0), inputs[0].shape.rank());
  if (inputs[0].shape[axis] == 0)
    throw ValueError(std::string(row_of(static_cast<uint16_t>(op.id))->name) + " over an empty axis");
  return {Dtype::int64, reduced(inputs[0].shape, 1u << axis, op.integer(1) != 0)};
}

void execute_argmax(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), inputs[0].rank());
  const int64_t n = inputs[0].shape()[axis];
  const Tensor x = rows_last(inputs[0], 1u << axis);
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    KillWatch watch;
    for (int64_t row = 0; row < out.size(); ++row) {
      const T* from = x.as<T>() + row * n;
      out.as<int64_t>()[row] = op.id == OpId::argmax ? place_of_best(from, n, watch, [](T a, T b) { return a > b; })
                                                     : place_of_best(from, n, watch, [](T a, T b) { return a < b; });
    }
  });
}

void execute_product(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const unsigned mask = axes_mask(op, inputs[0].rank());
  const Tensor x = rows_last(inputs[0], mask);
  const int64_t n = reduced_count(inputs[0].shape(), mask);
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    KillWatch watch;
    for (int64_t row = 0; row < out.size(); ++row) {
      T made = 1;
      in_pieces(n, watch, [&](int64_t at, int64_t count) {
        for (int64_t i = at; i < at + count; ++i) made = static_cast<T>(made * x.as<T>()[row * n + i]);
      });
      out.as<T>()[row] = made;
    }
  });
}

Spec infer_softmax(const Op& op, Specs inputs) {
  axis_within(op.integer(0), inputs[0].shape.rank());
  if (inputs[0].dtype != Dtype::float32) refuse_dtype(op, inputs[0].dtype, "float32");
  return inputs[0];
}

namespace {

// One row in pieces, for rows that would take a kernel long: out = exp(x - max x), then over its sum.
void softmax_long(const float* x, float* out, int64_t n, const Kernels& kernels, KillWatch& watch) {
  const float most = reduce_row(kernels.reduce_f32, Reduce::maximum, x, n, watch);
  in_pieces(n, watch, [&](int64_t at, int64_t count) {
    const auto size = static_cast<size_t>(count);
    kernels.binary_f32(Binary::subtract, x + at, 1, &most, 0, out + at, size);
    kernels.unary_f32(Unary::exp, out + at, out + at, size, 0.0f, 0.0f);
  });
  const float sum = reduce_row(kernels.reduce_f32, Reduce::sum, out, n, watch);
  in_pieces(n, watch, [&](int64_t at, int64_t count) {
    kernels.binary_f32(Binary::divide, out + at, 1, &sum, 0, out + at, static_cast<size_t>(count));
  });
}

}  // namespace

// Rows of softmax lie one after the other when the axis is the last; else they are made so and put back.
void execute_softmax(const Op& op, Tensors inputs, const Tensor& out, const Kernels& kernels) {
  const int axis = axis_within(op.integer(0), out.rank());
  const int64_t n = out.shape()[axis];
  const Tensor x = rows_last(inputs[0], 1u << axis);
  const bool last = axis == out.rank() - 1;
  const Tensor made = last ? out : Tensor(x.spec());
  KillWatch watch;
  for (int64_t at = 0; at < out.size(); at += n) {
    if (n > work_between_looks) {
      softmax_long(x.as<float>() + at, made.as<float>() + at, n, kernels, watch);
    } else {
      kernels.softmax_row(x.as<float>() + at, made.as<float>() + at, static_cast<size_t>(n));
    }
    watch.spend(n);
  }
  if (!last) put_rows_back(made, axis, out);
}

}  // namespace shoal
