// Operators that move elements and compute nothing.
#include "ops/op.h"

namespace shoal {

Spec infer_reshape(const Op& op, Specs inputs) {
  return {inputs[0].dtype, resolved_shape(inputs[0].shape, op.dims(0))};
}

void execute_reshape(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[0], out.reshaped(inputs[0].shape()));
}

Spec infer_transpose(const Op& op, Specs inputs) {
  return Tensor(inputs[0], nullptr, nullptr).transposed(op.dims(0)).spec();
}

void execute_transpose(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[0].transposed(op.dims(0)), out);
}

Spec infer_concat(const Op& op, Specs inputs) {
  Spec out = inputs[0];
  const int axis = axis_within(op.integer(0), out.shape.rank());
  for (const Spec& next : inputs.subspan(1)) {
    Spec same = next;
    if (next.shape.rank() == out.shape.rank()) same.shape[axis] = out.shape[axis];
    if (!(same == out))
      throw ValueError("concat of " + text_of(inputs[0].shape) + " and " + text_of(next.shape) +
                       ": dtype and all axes but one must agree");
    if (__builtin_add_overflow(out.shape[axis], next.shape[axis], &out.shape[axis]))
      throw ValueError("concat makes an axis that is too long");
  }
  return out;
}

void execute_concat(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const int axis = axis_within(op.integer(0), out.rank());
  int64_t at = 0;
  for (const Tensor& input : inputs) {
    const int64_t width = input.shape()[axis];
    copy_elements(input, out.sliced(axis, at, width, 1));
    at += width;
  }
}

namespace {

struct Range {
  int axis;
  int64_t start, count, step;
};

// As Python's slice: negative counts from the end, ends are clipped, the step may be negative.
Range range_of(const Op& op, const Dims& shape) {
  const int axis = axis_within(op.integer(0), shape.rank());
  const int64_t n = shape[axis], step = op.integer(3);
  if (step == 0) throw ValueError("a slice with step 0 goes nowhere");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  const auto clipped = [&](int64_t at) {
    if (at < 0) at = at < -n ? low : at + n;
    return at < low ? low : at > high ? high : at;
  };
  const int64_t start = clipped(op.integer(1)), stop = clipped(op.integer(2));
  const int64_t length = step > 0 ? stop - start : start - stop;
  const uint64_t size = step > 0 ? static_cast<uint64_t>(step) : uint64_t{0} - static_cast<uint64_t>(step);
  const int64_t count = length <= 0 ? 0 : 1 + static_cast<int64_t>(static_cast<uint64_t>(length - 1) / size);
  return {axis, start, count, step};
}

}  // namespace

Spec infer_slice(const Op& op, Specs inputs) {
  const Range range = range_of(op, inputs[0].shape);
  Spec out = inputs[0];
  out.shape[range.axis] = range.count;
  return out;
}

void execute_slice(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Range range = range_of(op, inputs[0].shape());
  copy_elements(inputs[0].sliced(range.axis, range.start, range.count, range.step), out);
}

Spec infer_broadcast(const Op& op, Specs inputs) {
  const Dims shape = op.dims(0);
  count_of(shape);  // refuses what cannot be a shape
  if (!(broadcast(inputs[0].shape, shape) == shape))
    throw ValueError("shape " + text_of(inputs[0].shape) + " does not broadcast to " + text_of(shape));
  return {inputs[0].dtype, shape};
}

void execute_broadcast(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[0].expanded(out.shape()), out);
}

}  // namespace shoal
