#include "tensor/array.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <type_traits>
#include <vector>

#include "ops/op.h"

namespace shoal {
namespace {

[[noreturn]] void unknown(const char* kind, const std::string& name) { throw ValueError(std::string("there is no ") + kind + " '" + name + "'"); }

void need_float(const char* what, const Tensor& x) {
  if (x.dtype() != Dtype::float32) throw DtypeError(std::string(what) + " takes float32, not " + name_of(x.dtype()) + ": cast it first");
}

void need_same(const char* what, const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype()) throw DtypeError(std::string(what) + " of " + name_of(a.dtype()) + " and " + name_of(b.dtype()) + ": cast one of them first");
}

Tensor spread(const Tensor& x, const Dims& shape) { return contiguous(x.expanded(shape)); }

using Function = float (*)(float);
constexpr struct {
  const char* name;
  Function function;
} functions[] = {
    {"log", [](float x) { return std::log(x); }},     {"log1p", [](float x) { return std::log1p(x); }},
    {"sin", [](float x) { return std::sin(x); }},     {"cos", [](float x) { return std::cos(x); }},
    {"floor", [](float x) { return std::floor(x); }}, {"ceil", [](float x) { return std::ceil(x); }},
    {"round", [](float x) { return std::nearbyint(x); }},  // to even, as the standard says
};

template <typename T, typename Holds>
void compare_all(const T* a, const T* b, uint8_t* out, int64_t count, Holds holds) {
  for (int64_t i = 0; i < count; ++i) out[i] = holds(a[i], b[i]) ? 1 : 0;
}

// x as (outer, length, inner) around an axis.
struct Around {
  int64_t outer = 1, length, inner = 1;
  Around(const Dims& shape, int axis) : length(shape[axis]) {
    for (int i = 0; i < axis; ++i) outer *= shape[i];
    for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  }
};

// A strict order in which not-a-number comes last, ascending and descending.
template <typename T>
bool before(T a, T b, bool descending) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) || std::isnan(b)) return !std::isnan(a) && std::isnan(b);
  }
  return descending ? b < a : a < b;
}

}  // namespace

Tensor mapped(const std::string& what, const Tensor& x) {
  need_float(what.c_str(), x);
  for (const auto& one : functions) {
    if (what != one.name) continue;
    const Tensor from = contiguous(x);
    Tensor out(x.spec());
    std::transform(from.as<float>(), from.as<float>() + from.size(), out.as<float>(), one.function);
    return out;
  }
  unknown("function", what);
}

Tensor compared(const std::string& how, const Tensor& a, const Tensor& b) {
  need_same("a comparison", a, b);
  const Dims shape = broadcast(a.shape(), b.shape());
  const Tensor x = spread(a, shape), y = spread(b, shape);
  Tensor out(Spec{Dtype::uint8, shape});
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const auto all = [&](auto holds) { compare_all(x.as<T>(), y.as<T>(), out.as<uint8_t>(), out.size(), holds); };
    if (how == "equal") return all([](T p, T q) { return p == q; });
    if (how == "not_equal") return all([](T p, T q) { return p != q; });
    if (how == "less") return all([](T p, T q) { return p < q; });
    if (how == "less_equal") return all([](T p, T q) { return p <= q; });
    unknown("comparison", how);
  });
  return out;
}

Tensor power(const Tensor& a, const Tensor& b) {
  need_float("pow", a);
  need_float("pow", b);
  const Dims shape = broadcast(a.shape(), b.shape());
  const Tensor x = spread(a, shape), y = spread(b, shape);
  Tensor out(Spec{Dtype::float32, shape});
  std::transform(x.as<float>(), x.as<float>() + x.size(), y.as<float>(), out.as<float>(), [](float p, float q) { return std::pow(p, q); });
  return out;
}

Tensor chosen(const Tensor& condition, const Tensor& a, const Tensor& b) {
  if (condition.dtype() != Dtype::uint8) throw DtypeError(std::string("where takes a condition of uint8, not ") + name_of(condition.dtype()) + ": compare something");
  need_same("where", a, b);
  const Dims shape = broadcast(broadcast(a.shape(), b.shape()), condition.shape());
  const Tensor c = spread(condition, shape), x = spread(a, shape), y = spread(b, shape);
  Tensor out(Spec{a.dtype(), shape});
  with_type(a.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t i = 0; i < out.size(); ++i) out.as<T>()[i] = c.as<uint8_t>()[i] ? x.as<T>()[i] : y.as<T>()[i];
  });
  return out;
}

Tensor taken(const Tensor& x, const Tensor& indices, int64_t axis) {
  const int at = axis_within(axis, x.rank());
  if (indices.dtype() != Dtype::int64 || indices.rank() != 1) throw ValueError("take needs the indices as one axis of int64");
  const Tensor from = contiguous(x), which = contiguous(indices);
  const Around around(x.shape(), at);
  Dims shape = x.shape();
  shape[at] = which.size();
  const Spec spec{x.dtype(), shape};
  if (spec.bytes() > tensor_bytes_max) throw ValueError("a result of shape " + text_of(shape) + " is too big");
  Tensor out(spec);
  const auto bytes = static_cast<size_t>(around.inner * size_of(x.dtype()));
  std::byte* to = out.data();
  for (int64_t outer = 0; outer < around.outer; ++outer) {
    for (int64_t i = 0; i < which.size(); ++i, to += bytes) {
      int64_t index = which.as<int64_t>()[i];
      if (index < -around.length || index >= around.length) throw ValueError("index " + std::to_string(index) + " is outside an axis of length " + std::to_string(around.length));
      if (index < 0) index += around.length;
      std::memcpy(to, from.data() + static_cast<size_t>(outer * around.length + index) * bytes, bytes);
    }
  }
  return out;
}

Tensor summed_up(const Tensor& x, int64_t axis) {
  const int at = axis_within(axis, x.rank());
  const Tensor from = contiguous(x);
  const Around around(x.shape(), at);
  Tensor out(x.spec());
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
    for (int64_t outer = 0; outer < around.outer; ++outer) {
      for (int64_t inner = 0; inner < around.inner; ++inner) {
        Sum sum{};
        for (int64_t i = 0; i < around.length; ++i) {
          const int64_t place = (outer * around.length + i) * around.inner + inner;
          sum = static_cast<Sum>(sum + from.as<T>()[place]);
          out.as<T>()[place] = static_cast<T>(sum);
        }
      }
    }
  });
  return out;
}

Tensor order_of(const Tensor& x, int64_t axis, bool descending) {
  const int at = axis_within(axis, x.rank());
  const Tensor from = contiguous(x);
  const Around around(x.shape(), at);
  Tensor out(Spec{Dtype::int64, x.shape()});
  std::vector<int64_t> order(static_cast<size_t>(around.length));
  with_type(x.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    for (int64_t outer = 0; outer < around.outer; ++outer) {
      for (int64_t inner = 0; inner < around.inner; ++inner) {
        const auto place = [&](int64_t i) { return (outer * around.length + i) * around.inner + inner; };
        std::iota(order.begin(), order.end(), int64_t{0});
        std::stable_sort(order.begin(), order.end(), [&](int64_t p, int64_t q) { return before(from.as<T>()[place(p)], from.as<T>()[place(q)], descending); });
        for (int64_t i = 0; i < around.length; ++i) out.as<int64_t>()[place(i)] = order[static_cast<size_t>(i)];
      }
    }
  });
  return out;
}

}  // namespace shoal
