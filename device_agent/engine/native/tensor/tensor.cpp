#include "tensor/tensor.h"
#include "tensor/run.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace shoal {

namespace {

struct DtypeRow {
  Dtype dtype;
  int64_t size;
  const char* name;
  const char* format;
};
constexpr DtypeRow dtypes[] = {
    {Dtype::float32, 4, "float32", "f"},
    {Dtype::int32, 4, "int32", "i"},
    {Dtype::int64, 8, "int64", "q"},
    {Dtype::uint8, 1, "uint8", "B"},
    {Dtype::boolean, 1, "bool", "?"},
    {Dtype::float64, 8, "float64", "d"},
    {Dtype::float16, 2, "float16", "e"},
    {Dtype::bfloat16, 2, "bfloat16", "H"},  // struct has no letter for it: its bits
    {Dtype::int8, 1, "int8", "b"},
    {Dtype::int16, 2, "int16", "h"},
    {Dtype::uint16, 2, "uint16", "H"},
    {Dtype::uint32, 4, "uint32", "I"},
    {Dtype::uint64, 8, "uint64", "Q"},
};
const DtypeRow& row_of(Dtype dtype) { return dtypes[static_cast<size_t>(dtype) - 1]; }

}  // namespace

bool is_dtype(uint8_t code) { return code >= 1 && code <= std::size(dtypes); }
int64_t size_of(Dtype dtype) { return row_of(dtype).size; }
const char* name_of(Dtype dtype) { return row_of(dtype).name; }
const char* struct_format_of(Dtype dtype) { return row_of(dtype).format; }

Dtype dtype_named(const std::string& name) {
  for (const DtypeRow& row : dtypes)
    if (name == row.name) return row.dtype;
  throw DtypeError("there is no dtype '" + name +
                   "'; use float32, float64, float16, bfloat16, int8 to int64, uint8 to uint64 or bool");
}

Dims::Dims(std::span<const int64_t> from) {
  for (int64_t x : from) push(x);
}

void Dims::push(int64_t x) {
  if (rank_ == rank_max) throw ValueError("a tensor has at most " + std::to_string(rank_max) + " axes");
  at_[static_cast<size_t>(rank_++)] = x;
}

void Dims::erase(int i) {
  for (int j = i; j + 1 < rank_ && j + 1 < rank_max; ++j) (*this)[j] = (*this)[j + 1];
  --rank_;
}

bool Dims::operator==(const Dims& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string text_of(const Dims& dims) {
  std::string out = "(";
  for (int i = 0; i < dims.rank(); ++i) out += (i ? ", " : "") + std::to_string(dims[i]);
  return out + (dims.rank() == 1 ? ",)" : ")");
}

// Zero-sized axes do not hide an impossible shape: the other axes are multiplied all the same.
int64_t count_of(const Dims& shape) {
  int64_t bound = 1;
  bool empty = false;
  for (int64_t size : shape) {
    if (size < 0) throw ValueError("shape " + text_of(shape) + " has a negative axis");
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bound, size == 0 ? 1 : size, &bound) || bound > tensor_bytes_max)
      throw ValueError("shape " + text_of(shape) + " has too many elements; a tensor may hold " +
                       std::to_string(tensor_bytes_max) + " bytes");
  }
  return empty ? 0 : bound;
}

Dims contiguous_strides(const Dims& shape) {
  Dims strides = shape;
  int64_t step = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= shape[i] > 0 ? shape[i] : 1;
  }
  return strides;
}

int axis_within(int64_t axis, int rank) {
  const int64_t from_start = axis < 0 ? axis + rank : axis;
  if (from_start < 0 || from_start >= rank)
    throw ValueError("axis " + std::to_string(axis) + " is not one of a tensor with " + std::to_string(rank) + " axes");
  return static_cast<int>(from_start);
}

// One block holds the elements from an aligned address on; the deleter remembers where it began and whom it is charged to.
std::shared_ptr<std::byte> allocate(int64_t bytes, bool zeroed) {
  if (bytes > tensor_bytes_max) throw std::bad_alloc();
  auto charged = std::make_unique<Charge>(bytes);
  const size_t room = static_cast<size_t>(bytes) + alignment;
  void* block = zeroed ? std::calloc(room, 1) : std::malloc(room);
  if (block == nullptr) throw std::bad_alloc();
  const uintptr_t start = (reinterpret_cast<uintptr_t>(block) + alignment - 1) & ~(uintptr_t{alignment} - 1);
  return {reinterpret_cast<std::byte*>(start), [block, held = charged.release()](std::byte*) {
            std::free(block);
            delete held;
          }};
}

Tensor::Tensor(const Spec& spec) : spec_(spec), strides_(contiguous_strides(spec.shape)) {
  storage_ = allocate(spec.bytes());
  data_ = storage_.get();
}

Tensor::Tensor(const Spec& spec, std::shared_ptr<std::byte> storage, std::byte* data)
    : spec_(spec), strides_(contiguous_strides(spec.shape)), storage_(std::move(storage)), data_(data) {}

Tensor::Tensor(const Spec& spec, const Dims& strides, std::shared_ptr<std::byte> storage, std::byte* data)
    : spec_(spec), strides_(strides), storage_(std::move(storage)), data_(data) {}

bool Tensor::contiguous() const {
  if (size() == 0) return true;
  int64_t step = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape()[i] != 1 && strides_[i] != step) return false;
    step *= shape()[i];
  }
  return true;
}

Tensor Tensor::reshaped(const Dims& shape) const { return {{dtype(), shape}, storage_, data_}; }

Tensor Tensor::transposed(const Dims& axes) const {
  if (axes.rank() != rank())
    throw ValueError("axes " + text_of(axes) + " do not name each axis of shape " + text_of(shape()) + " once");
  Spec spec{dtype(), shape()};
  Dims strides = strides_;
  unsigned seen = 0;
  for (int i = 0; i < rank(); ++i) {
    const int from = axis_within(axes[i], rank());
    if (seen & (1u << from)) throw ValueError("axes " + text_of(axes) + " name an axis twice");
    seen |= 1u << from;
    spec.shape[i] = shape()[from];
    strides[i] = strides_[from];
  }
  return {spec, strides, storage_, data_};
}

Tensor Tensor::sliced(int axis, int64_t start, int64_t count, int64_t step) const {
  Tensor out = *this;
  out.spec_.shape[axis] = count;
  out.strides_[axis] = count > 1 ? strides_[axis] * step : strides_[axis];
  if (out.size() > 0) out.data_ = data_ + start * strides_[axis] * size_of(dtype());
  return out;
}

Tensor Tensor::picked(int axis, int64_t index) const {
  Tensor out = sliced(axis, index, 1, 1);
  out.spec_.shape.erase(axis);
  out.strides_.erase(axis);
  return out;
}

Tensor Tensor::expanded(const Dims& to) const {
  Dims strides = to;
  const int lead = to.rank() - rank();
  for (int i = 0; i < to.rank(); ++i)
    strides[i] = i < lead || shape()[i - lead] == 1 ? 0 : strides_[i - lead];
  return {{dtype(), to}, strides, storage_, data_};
}

Dims broadcast(const Dims& a, const Dims& b) {
  const Dims& longer = a.rank() >= b.rank() ? a : b;
  const Dims& shorter = a.rank() >= b.rank() ? b : a;
  Dims out = longer;
  const int lead = longer.rank() - shorter.rank();
  for (int i = 0; i < shorter.rank(); ++i) {
    const int64_t x = longer[lead + i], y = shorter[i];
    if (x != y && x != 1 && y != 1)
      throw ValueError("shapes " + text_of(a) + " and " + text_of(b) + " do not broadcast together");
    out[lead + i] = x == 1 ? y : x;
  }
  return out;
}

Dims resolved_shape(const Dims& from, const Dims& wanted) {
  Dims out = wanted;
  int open = -1;
  for (int i = 0; i < wanted.rank(); ++i) {
    if (wanted[i] == -2 && i < from.rank()) {
      out[i] = from[i];
    } else if (wanted[i] == -1 && open < 0) {
      open = i;
      out[i] = 1;
    } else if (wanted[i] < 0) {
      throw ValueError("shape " + text_of(wanted) + " leaves more than one axis open");
    }
  }
  const int64_t have = count_of(from), rest = count_of(out);
  if (open >= 0 && rest > 0) out[open] = have / rest;
  if (count_of(out) != have || (open >= 0 && rest == 0))
    throw ValueError("shape " + text_of(from) + " does not reshape to " + text_of(wanted));
  return out;
}

namespace {

template <typename T>
void copy_line(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t n, KillWatch& watch) {
  in_pieces(n, watch, [&](int64_t at, int64_t count) {
    if (from_step == 1 && to_step == 1) {
      std::memcpy(to + at, from + at, static_cast<size_t>(count) * sizeof(T));
    } else {
      for (int64_t i = at; i < at + count; ++i) to[i * to_step] = from[i * from_step];
    }
  });
}

// Walks all axes but the last and copies lines.
template <typename T>
void copy_axes(const T* from, const Dims& from_strides, T* to, const Dims& to_strides, const Dims& shape, int axis,
               KillWatch& watch) {
  if (axis + 1 >= shape.rank()) {
    const bool scalar = shape.rank() == 0;
    return copy_line(from, scalar ? 1 : from_strides[axis], to, scalar ? 1 : to_strides[axis], scalar ? 1 : shape[axis],
                     watch);
  }
  for (int64_t i = 0; i < shape[axis]; ++i)
    copy_axes(from + i * from_strides[axis], from_strides, to + i * to_strides[axis], to_strides, shape, axis + 1, watch);
}

template <typename T>
void copy_typed(const Tensor& from, const Tensor& to) {
  KillWatch watch;
  if (from.contiguous() && to.contiguous()) return copy_line(from.as<T>(), 1, to.as<T>(), 1, from.size(), watch);
  copy_axes(from.as<T>(), from.strides(), to.as<T>(), to.strides(), from.shape(), 0, watch);
}

}  // namespace

void copy_elements(const Tensor& from, const Tensor& to) {
  if (from.size() == 0) return;
  switch (size_of(from.dtype())) {
    case 1: return copy_typed<uint8_t>(from, to);
    case 2: return copy_typed<uint16_t>(from, to);
    case 4: return copy_typed<uint32_t>(from, to);
    default: return copy_typed<uint64_t>(from, to);
  }
}

Tensor contiguous(const Tensor& tensor) {
  if (tensor.contiguous()) return tensor;
  Tensor out(tensor.spec());
  copy_elements(tensor, out);
  return out;
}

}  // namespace shoal
