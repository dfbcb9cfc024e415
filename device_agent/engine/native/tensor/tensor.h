// A tensor: typed elements in shared storage, seen through an offset, a shape and strides.
//
// Rules: a Tensor is a value and never changes once others can see it; views share storage; every size is checked for
// overflow and against bytes_max before anything is allocated.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

namespace shoal {

constexpr int rank_max = 8;
constexpr int64_t tensor_bytes_max = int64_t{1} << 31;
constexpr size_t alignment = 64;

// The caller's fault: a shape, an index or an attribute that cannot be.
struct ValueError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The caller's fault: a dtype that the operator does not take.
struct DtypeError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// boolean: one byte an element; zero is false, all else is true, and operators make 0 and 1 only.
// float16 and bfloat16 are for storage: they move and are cast; numbers are computed in float32.
enum class Dtype : uint8_t {
  float32 = 1, int32 = 2, int64 = 3, uint8 = 4, boolean = 5, float64 = 6, float16 = 7, bfloat16 = 8, int8 = 9,
  int16 = 10, uint16 = 11, uint32 = 12, uint64 = 13,
};
inline bool is_half(Dtype dtype) { return dtype == Dtype::float16 || dtype == Dtype::bfloat16; }
inline bool is_float(Dtype dtype) { return dtype == Dtype::float32 || dtype == Dtype::float64; }

bool is_dtype(uint8_t code);
int64_t size_of(Dtype dtype);
const char* name_of(Dtype dtype);
const char* struct_format_of(Dtype dtype);  // as in Python's struct and buffer protocol
Dtype dtype_named(const std::string& name);  // DtypeError when unknown

// Up to rank_max numbers: a shape, strides or axes.
class Dims {
 public:
  Dims() = default;
  explicit Dims(std::span<const int64_t> from);
  Dims(std::initializer_list<int64_t> from) : Dims(std::span(from.begin(), from.size())) {}

  int rank() const { return rank_; }
  int64_t& operator[](int i) { return at_[static_cast<size_t>(i)]; }
  int64_t operator[](int i) const { return at_[static_cast<size_t>(i)]; }
  int64_t* data() { return at_.data(); }
  const int64_t* data() const { return at_.data(); }
  const int64_t* begin() const { return at_.data(); }
  const int64_t* end() const { return at_.data() + rank_; }
  void push(int64_t x);  // ValueError past rank_max
  void erase(int i);
  bool operator==(const Dims& other) const;

 private:
  int rank_ = 0;
  std::array<int64_t, rank_max> at_{};
};

std::string text_of(const Dims& dims);           // "(2, 3)"
int64_t count_of(const Dims& shape);             // ValueError when negative or too many
Dims contiguous_strides(const Dims& shape);
int axis_within(int64_t axis, int rank);         // negative counts from the end; ValueError outside

struct Spec {
  Dtype dtype = Dtype::float32;
  Dims shape;
  int64_t bytes() const { return count_of(shape) * size_of(dtype); }
  bool operator==(const Spec& other) const { return dtype == other.dtype && shape == other.shape; }
};

// Aligned, charged to the run that the thread works for (run.h); std::bad_alloc when there is none, or none for it.
// Zeroed: what the system has cleared already is not cleared again, so a big block costs nothing until it is used.
std::shared_ptr<std::byte> allocate(int64_t bytes, bool zeroed = false);

class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(const Spec& spec);  // contiguous, contents undefined
  Tensor(const Spec& spec, std::shared_ptr<std::byte> storage, std::byte* data);  // contiguous over storage
  Tensor(const Spec& spec, const Dims& strides, std::shared_ptr<std::byte> storage, std::byte* data);

  Dtype dtype() const { return spec_.dtype; }
  const Spec& spec() const { return spec_; }
  const Dims& shape() const { return spec_.shape; }
  const Dims& strides() const { return strides_; }
  int rank() const { return spec_.shape.rank(); }
  int64_t size() const { return count_of(spec_.shape); }
  std::byte* data() const { return data_; }
  template <typename T>
  T* as() const { return reinterpret_cast<T*>(data_); }
  bool contiguous() const;
  const std::shared_ptr<std::byte>& storage() const { return storage_; }

  Tensor reshaped(const Dims& shape) const;  // a view; contiguous tensors only
  Tensor transposed(const Dims& axes) const;
  Tensor sliced(int axis, int64_t start, int64_t count, int64_t step) const;
  Tensor picked(int axis, int64_t index) const;  // without that axis
  Tensor expanded(const Dims& shape) const;      // broadcast: repeated axes have stride 0

 private:
  Spec spec_;
  Dims strides_;
  std::shared_ptr<std::byte> storage_;
  std::byte* data_ = nullptr;
};

Dims broadcast(const Dims& a, const Dims& b);              // ValueError when they do not match
Dims resolved_shape(const Dims& from, const Dims& wanted);  // -1: what remains; -2: as in `from`
void copy_elements(const Tensor& from, const Tensor& to);   // same dtype and shape, any strides
Tensor contiguous(const Tensor& tensor);                    // itself, or a copy

}  // namespace shoal
