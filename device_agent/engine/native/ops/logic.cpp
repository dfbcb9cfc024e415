// Comparisons, which make bool; and, or, xor, not of bool; and the choice between two tensors.
#include "ops/op.h"

namespace shoal {

namespace {

void need_same(const Op& op, const Spec& a, const Spec& b) {
  if (a.dtype != b.dtype)
    throw DtypeError(std::string(row_of(static_cast<uint16_t>(op.id))->name) + " of " + name_of(a.dtype) + " and " +
                     name_of(b.dtype) + ": cast one of them first");
}

// out[i] = f(a[i], b[i]) over broadcast operands.
template <typename T, typename F>
void map_pairs(Tensors inputs, const Tensor& out, F f) {
  const Tensor a = inputs[0].expanded(out.shape()), b = inputs[1].expanded(out.shape());
  walk_lines(merged(a, b, out.shape()), a.as<T>(), b.as<T>(), out.as<uint8_t>(),
            [f](const T* x, ptrdiff_t sx, const T* y, ptrdiff_t sy, uint8_t* to, size_t n) {
              for (size_t i = 0; i < n; ++i, x += sx, y += sy) to[i] = f(*x, *y);
            });
}

}  // namespace

Spec infer_compare(const Op& op, Specs inputs) {
  if (is_half(inputs[0].dtype)) refuse_dtype(op, inputs[0].dtype, "numbers that are computed with");
  need_same(op, inputs[0], inputs[1]);
  return {Dtype::boolean, broadcast(inputs[0].shape, inputs[1].shape)};
}

void execute_compare(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const bool truth = inputs[0].dtype() == Dtype::boolean;  // any byte but zero is true
  with_type(inputs[0].dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    const auto run = [&](auto f) {
      map_pairs<T>(inputs, out, [f, truth](T a, T b) {
        return truth ? f(static_cast<T>(a != 0), static_cast<T>(b != 0)) : f(a, b);
      });
    };
    switch (op.id) {
      case OpId::equal: return run([](T a, T b) { return a == b; });
      case OpId::less: return run([](T a, T b) { return a < b; });
      default: return run([](T a, T b) { return a <= b; });
    }
  });
}

Spec infer_logic(const Op& op, Specs inputs) {
  for (const Spec& input : inputs)
    if (input.dtype != Dtype::boolean) refuse_dtype(op, input.dtype, "bool");
  return {Dtype::boolean, broadcast(inputs[0].shape, inputs[1].shape)};
}

void execute_logic(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  switch (op.id) {
    case OpId::logical_and:
      return map_pairs<uint8_t>(inputs, out, [](uint8_t a, uint8_t b) { return (a != 0) & (b != 0); });
    case OpId::logical_or:
      return map_pairs<uint8_t>(inputs, out, [](uint8_t a, uint8_t b) { return (a != 0) | (b != 0); });
    default: return map_pairs<uint8_t>(inputs, out, [](uint8_t a, uint8_t b) { return (a != 0) != (b != 0); });
  }
}

Spec infer_not(const Op& op, Specs inputs) {
  if (inputs[0].dtype != Dtype::boolean) refuse_dtype(op, inputs[0].dtype, "bool");
  return inputs[0];
}

void execute_not(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  in_pieces(x.size(), [&](int64_t at, int64_t count) {
    for (int64_t i = at; i < at + count; ++i) out.as<uint8_t>()[i] = x.as<uint8_t>()[i] == 0;
  });
}

Spec infer_where(const Op& op, Specs inputs) {
  if (inputs[0].dtype != Dtype::boolean) refuse_dtype(op, inputs[0].dtype, "a bool condition");
  need_same(op, inputs[1], inputs[2]);
  return {inputs[1].dtype, broadcast(inputs[0].shape, broadcast(inputs[1].shape, inputs[2].shape))};
}

// The second tensor is laid down first; the first goes over it where the condition holds.
void execute_where(const Op&, Tensors inputs, const Tensor& out, const Kernels&) {
  copy_elements(inputs[2].expanded(out.shape()), out);
  const Tensor holds = inputs[0].expanded(out.shape()), then = inputs[1].expanded(out.shape());
  with_type(out.dtype(), [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    walk_lines(merged(holds, then, out.shape()), holds.as<uint8_t>(), then.as<T>(), out.as<T>(),
              [](const uint8_t* c, ptrdiff_t sc, const T* x, ptrdiff_t sx, T* to, size_t n) {
                for (size_t i = 0; i < n; ++i, c += sc, x += sx) to[i] = *c ? *x : to[i];
              });
  });
}

}  // namespace shoal
