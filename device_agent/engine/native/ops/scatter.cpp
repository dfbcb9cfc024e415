// Operators that write or pick by indices that name several axes, or that add to what is there.
#include <cstring>
#include <vector>

#include "ops/op.h"

namespace shoal {

namespace {

enum class Into : int64_t { put, add, multiply, maximum, minimum };

template <typename T>
void combine(Into how, T& at, T value) {
  switch (how) {
    case Into::put: at = value; break;
    case Into::add: at = static_cast<T>(at + value); break;
    case Into::multiply: at = static_cast<T>(at * value); break;
    case Into::maximum: at = at < value ? value : at; break;
    case Into::minimum: at = value < at ? value : at; break;
  }
}

Spec checked(const Op& op, Specs inputs, size_t reduction) {
  if (inputs[1].dtype != Dtype::int64) refuse_dtype(op, inputs[1].dtype, "int64 indices");
  if (inputs[0].dtype != inputs[2].dtype) refuse_dtype(op, inputs[2].dtype, "updates of its data's dtype");
  const int64_t how = op.integer(reduction);
  if (how < 0 || how > static_cast<int64_t>(Into::minimum)) throw ValueError("scatter has no such reduction");
  if (how != 0 && is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers that are computed with");
  return inputs[0];
}

}  // namespace

Spec infer_scatter(const Op& op, Specs inputs) {
  const int axis = axis_within(op.integer(0), inputs[0].shape.rank());
  if (!(inputs[1].shape == inputs[2].shape) || inputs[1].shape.rank() != inputs[0].shape.rank())
    throw ValueError("scatter by indices " + text_of(inputs[1].shape) + " of updates " + text_of(inputs[2].shape) +
                     " into " + text_of(inputs[0].shape));
  for (int i = 0; i < inputs[0].shape.rank(); ++i)
    if (i != axis && inputs[1].shape[i] > inputs[0].shape[i])
      throw ValueError("scatter by indices of shape " + text_of(inputs[1].shape) + " is wider than " +
                       text_of(inputs[0].shape));
  return checked(op, inputs, 1);
}

// data, indices and updates (the same rank): out = data, then out[.., index, ..] takes each update.
void execute_scatter(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[0], out);
  const Tensor indices = contiguous(inputs[1]), updates = contiguous(inputs[2]);
  const int axis = axis_within(op.integer(0), out.rank());
  const Dims steps = contiguous_strides(indices.shape()), strides = out.strides();
  const Into how = static_cast<Into>(op.integer(1));
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < updates.size(); ++i) {
      int64_t at = index_within(indices.as<int64_t>()[i], out.shape()[axis]) * strides[axis];
      for (int j = 0; j < out.rank(); ++j)
        if (j != axis) at += i / steps[j] % indices.shape()[j] * strides[j];
      combine(how, out.as<T>()[at], updates.as<T>()[i]);
    }
  });
}

namespace {

// Indices (..., depth) into the axes of `shape` from `from` on: where the block of the axes after them starts.
int64_t block_at(const int64_t* index, int64_t depth, const Dims& shape, const Dims& strides, int from) {
  int64_t at = 0;
  for (int j = 0; j < depth; ++j) at += index_within(index[j], shape[from + j]) * strides[from + j];
  return at;
}

int64_t depth_of(const Spec& indices, const Dims& shape, int from) {
  if (indices.shape.rank() == 0) throw ValueError("indices of elements have at least one axis");
  const int64_t depth = indices.shape[indices.shape.rank() - 1];
  if (depth < 0 || depth > shape.rank() - from)
    throw ValueError("indices of shape " + text_of(indices.shape) + " name more axes than " + text_of(shape) + " has");
  return depth;
}

}  // namespace

Spec infer_scatter_nd(const Op& op, Specs inputs) {
  const Dims &shape = inputs[0].shape, &indices = inputs[1].shape;
  const auto depth = static_cast<int>(depth_of(inputs[1], shape, 0));
  Dims wanted(std::span(indices.begin(), indices.end() - 1));
  for (int i = depth; i < shape.rank(); ++i) wanted.push(shape[i]);
  if (!(wanted == inputs[2].shape))
    throw ValueError("scatter_nd takes updates of shape " + text_of(wanted) + ", not " + text_of(inputs[2].shape));
  return checked(op, inputs, 0);
}

void execute_scatter_nd(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[0], out);
  const Tensor indices = contiguous(inputs[1]), updates = contiguous(inputs[2]);
  const int64_t depth = indices.shape()[indices.rank() - 1];
  int64_t block = 1;
  for (int i = static_cast<int>(depth); i < out.rank(); ++i) block *= out.shape()[i];
  const Into how = static_cast<Into>(op.integer(0));
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < (block ? updates.size() / block : 0); ++i) {
      T* to = out.as<T>() + block_at(indices.as<int64_t>() + i * depth, depth, out.shape(), out.strides(), 0);
      for (int64_t j = 0; j < block; ++j) combine(how, to[j], updates.as<T>()[i * block + j]);
    }
  });
}

Spec infer_gather_nd(const Op& op, Specs inputs) {
  if (inputs[1].dtype != Dtype::int64) refuse_dtype(op, inputs[1].dtype, "int64 indices");
  const Dims &shape = inputs[0].shape, &indices = inputs[1].shape;
  const int64_t batch = op.integer(0);
  if (batch < 0 || batch >= indices.rank() || batch > shape.rank()) throw ValueError("gather_nd has no such batch axes");
  const auto from = static_cast<int>(batch);
  for (int i = 0; i < from; ++i)
    if (shape[i] != indices[i]) throw ValueError("gather_nd: the batch axes of data and indices differ");
  const auto depth = static_cast<int>(depth_of(inputs[1], shape, from));
  Dims out(std::span(indices.begin(), indices.end() - 1));
  for (int i = from + depth; i < shape.rank(); ++i) out.push(shape[i]);
  return {inputs[0].dtype, out};
}

void execute_gather_nd(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor data = contiguous(inputs[0]), indices = contiguous(inputs[1]);
  const auto from = static_cast<int>(op.integer(0));
  const int64_t depth = indices.shape()[indices.rank() - 1];
  int64_t batches = 1, batch_size = 1, block = size_of(data.dtype());
  for (int i = 0; i < data.rank(); ++i) {
    if (i < from) batches *= data.shape()[i];
    else batch_size *= data.shape()[i];
    if (i >= from + depth) block *= data.shape()[i];
  }
  const Dims strides = contiguous_strides(data.shape());
  const int64_t rows = out.spec().bytes() / block, rows_a_batch = rows / batches;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = i / rows_a_batch * batch_size +
                       block_at(indices.as<int64_t>() + i * depth, depth, data.shape(), strides, from);
    std::memcpy(out.data() + i * block, data.data() + at * size_of(data.dtype()), static_cast<size_t>(block));
  }
}

}  // namespace shoal
