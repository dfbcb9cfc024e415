// Operators that pick elements by an index that another tensor holds. Negative indices count from the end.
#include <cstring>

#include "ops/op.h"

namespace shoal {

namespace {

void need_indices(const Op& op, const Spec& indices) {
  if (indices.dtype != Dtype::int64) refuse_dtype(op, indices.dtype, "int64 indices");
}

}  // namespace

int64_t index_within(int64_t index, int64_t n) {
  const int64_t at = index < 0 ? index + n : index;
  if (at < 0 || at >= n)
    throw ValueError("index " + std::to_string(index) + " is outside an axis of " + std::to_string(n));
  return at;
}

Spec infer_take(const Op& op, Specs inputs) {
  need_indices(op, inputs[1]);
  const Dims& shape = inputs[0].shape;
  const int axis = axis_within(op.integer(0), shape.rank());
  Dims out;
  for (int i = 0; i < axis; ++i) out.push(shape[i]);
  for (int64_t size : inputs[1].shape) out.push(size);
  for (int i = axis + 1; i < shape.rank(); ++i) out.push(shape[i]);
  return {inputs[0].dtype, out};
}

// x (before, n, after) at each index -> out (before, indices, after): a block of `after` elements an index.
void execute_take(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]), indices = contiguous(inputs[1]);
  const int axis = axis_within(op.integer(0), x.rank());
  const int64_t n = x.shape()[axis], count = indices.size();
  int64_t block = size_of(x.dtype());
  for (int i = axis + 1; i < x.rank(); ++i) block *= x.shape()[i];
  const std::byte* from = x.data();
  KillWatch watch;
  for (std::byte *to = out.data(), *end = to + out.spec().bytes(); to < end; from += n * block)
    for (int64_t i = 0; i < count; ++i, to += block) {
      const std::byte* source = from + index_within(indices.as<int64_t>()[i], n) * block;
      in_pieces(block, watch, [&](int64_t at, int64_t bytes) {
        std::memcpy(to + at, source + at, static_cast<size_t>(bytes));
      });
    }
}

Spec infer_take_along(const Op& op, Specs inputs) {
  need_indices(op, inputs[1]);
  const int axis = axis_within(op.integer(0), inputs[0].shape.rank());
  Dims wanted = inputs[0].shape;
  if (inputs[1].shape.rank() == wanted.rank()) wanted[axis] = inputs[1].shape[axis];
  if (!(wanted == inputs[1].shape))
    throw ValueError("take_along of shape " + text_of(inputs[0].shape) + " by indices of shape " +
                     text_of(inputs[1].shape) + ": all axes but the one taken along must agree");
  return {inputs[0].dtype, wanted};
}

void execute_take_along(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), out.rank());
  const Tensor x = rows_last(inputs[0], 1u << axis), at = rows_last(inputs[1], 1u << axis);
  const int64_t n = inputs[0].shape()[axis], count = out.shape()[axis];
  const Tensor made({out.dtype(), at.shape()});
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    in_pieces(made.size(), [&](int64_t start, int64_t size) {
      for (int64_t i = start; i < start + size; ++i)
        made.as<T>()[i] = x.as<T>()[i / count * n + index_within(at.as<int64_t>()[i], n)];
    });
  });
  put_rows_back(made, axis, out);
}

}  // namespace shoal
