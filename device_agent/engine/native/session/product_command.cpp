#include "session/product_command.h"

#include <tuple>

#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/matmul_int8.h"
#include "kernels/row_product.h"
#include "kernels/strassen.h"

namespace shoal {

namespace {

const Tensor& matrix(const std::vector<Tensor>& inputs, size_t i, size_t rows, size_t columns) {
  const Tensor& tensor = inputs[i];
  if (tensor.dtype() != Dtype::float32 || !(tensor.shape() == Dims{static_cast<int64_t>(rows), static_cast<int64_t>(columns)}))
    throw ValueError("a product takes matrices of float32, of the sizes that its words say");
  return tensor;
}

// k, n; the right side is (k, n) with any strides
KernelCall pack_right_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                           const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 2 ? 2 : 1, outputs, 1);
  const Tensor& b = matrix(inputs, 0, k, n);
  const float* bias = inputs.size() == 2 ? floats(inputs, 1, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(packed_floats(k, n, kernels)));
  const float* from = b.as<float>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_right(from, row, column, bias, k, n, packed, run); };
}

// m, n, k and the ending, of (m, k), so many other sides as the kernel has, and a residual.
Product product_of(Words& words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs, size_t sides) {
  Product product{};
  product.m = words.size(), product.n = words.size(), product.k = words.size();
  const Ending ending = ending_of(words);
  words.end();
  need_counts(inputs, 1 + sides + ending.residual, outputs, 2);
  const Tensor& a = matrix(inputs, 0, product.m, product.k);
  product.a = a.as<float>();
  product.a_row = a.strides()[0], product.a_column = a.strides()[1];
  const int64_t count = times({product.m, product.n});
  product.c = room(outputs, 0, count);
  product.c_row = product.residual_row = static_cast<ptrdiff_t>(product.n);
  product.activation = ending.activation, product.low = ending.low, product.high = ending.high;
  if (ending.residual) product.residual = floats(inputs, inputs.size() - 1, count);
  return product;
}

// k, n; the right side is (k, n) with any strides; the second output is room to work in
KernelCall pack_strassen_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                              const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 2 ? 2 : 1, outputs, 2);
  const Tensor& b = matrix(inputs, 0, k, n);
  if (!strassen_fits(2, n, k)) throw ValueError("pack_strassen takes even sizes");
  const float* bias = inputs.size() == 2 ? floats(inputs, 1, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(strassen_packed_floats(k, n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(strassen_packing_floats(k, n)));
  const float* from = b.as<float>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_strassen(from, row, column, bias, k, n, packed, workspace, run.kernels); };
}

// m, n, k, the ending
KernelCall product_strassen_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                                 const Kernels& kernels) {
  const Product product = product_of(words, inputs, outputs, 1);
  const auto [m, n, k] = std::tuple{product.m, product.n, product.k};
  if (!strassen_fits(m, n, k) || product.a_column != 1)
    throw ValueError("product_strassen takes two rows or more that are contiguous, and even sizes");
  const float* packed = floats(inputs, 1, static_cast<int64_t>(strassen_packed_floats(k, n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(strassen_workspace_floats(m, n, k)));
  return [=](const Run& run) { multiply_strassen(product, packed, workspace, run); };
}

// m, n, k, the ending
KernelCall packed_product_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                               const Kernels& kernels, int threads) {
  const Product product = product_of(words, inputs, outputs, 1);
  const float* packed = floats(inputs, 1, static_cast<int64_t>(packed_floats(product.k, product.n, kernels)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(product_workspace_floats(product, kernels, threads)));
  return [=](const Run& run) { multiply(product, packed, workspace, run); };
}

// k, n; weights (k, n) of int8 with any strides, their scales, and maybe a bias
KernelCall pack_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                          const Kernels& kernels) {
  const size_t k = words.size(), n = words.size();
  words.end();
  need_counts(inputs, inputs.size() == 3 ? 3 : 2, outputs, 1);
  const Tensor& b = inputs[0];
  if (k > int8_k_max || b.dtype() != Dtype::int8 || !(b.shape() == Dims{static_cast<int64_t>(k), static_cast<int64_t>(n)}))
    throw ValueError("pack_int8 takes (k, n) of int8, k at most " + std::to_string(int8_k_max));
  const float* scales = floats(inputs, 1, static_cast<int64_t>(n));
  const float* bias = inputs.size() == 3 ? floats(inputs, 2, static_cast<int64_t>(n)) : nullptr;
  float* packed = room(outputs, 0, static_cast<int64_t>(floats_for(packed_int8_bytes(k, n, kernels))));
  const int8_t* from = b.as<int8_t>();
  const ptrdiff_t row = b.strides()[0], column = b.strides()[1];
  return [=](const Run& run) { pack_right_int8(from, row, column, scales, bias, k, n, packed, run.kernels); };
}

// m, n, k, the ending; A's columns are neighbours
KernelCall product_int8_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                             const Kernels& kernels) {
  const Product product = product_of(words, inputs, outputs, 1);
  if (product.k > int8_k_max || product.a_column != 1)
    throw ValueError("product_int8 takes rows that are contiguous, of at most " + std::to_string(int8_k_max));
  const size_t bytes = packed_int8_bytes(product.k, product.n, kernels);
  const float* packed = floats(inputs, 1, static_cast<int64_t>(floats_for(bytes)));
  float* workspace = room(outputs, 1, static_cast<int64_t>(floats_for(product_int8_workspace_bytes(product))));
  return [=](const Run& run) { multiply_int8(product, packed, workspace, run); };
}

// whether there is a bias; m, n, k, the ending; the right side is (k, n) where it lies
KernelCall row_product_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                            const Kernels& kernels, int threads) {
  const bool biased = words.flag();
  RowProduct rows{};
  rows.product = product_of(words, inputs, outputs, biased ? 2 : 1);
  const auto [m, n, k] = std::tuple{rows.product.m, rows.product.n, rows.product.k};
  const Tensor& b = inputs[1];
  rows.side = b.dtype() == Dtype::bfloat16 ? RowSide::bfloat16 : b.dtype() == Dtype::float16 ? RowSide::float16 : RowSide::float32;
  if (rows.side == RowSide::float32) matrix(inputs, 1, k, n);
  else if (m > half_rows_max || !(b.shape() == Dims{static_cast<int64_t>(k), static_cast<int64_t>(n)}))
    throw ValueError("row_product takes a few rows by a matrix of 16-bit floats");
  rows.b = b.data();
  rows.b_row = b.strides()[0], rows.b_column = b.strides()[1];
  if (rows.product.a_column != 1 || (rows.b_row != 1 && rows.b_column != 1))
    throw ValueError("row_product takes sides whose rows or columns are contiguous");
  if (biased) rows.bias = floats(inputs, 2, static_cast<int64_t>(n));
  float* workspace = room(outputs, 1, static_cast<int64_t>(row_product_workspace_floats(m, n, k, kernels, threads)));
  return [=](const Run& run) { multiply_rows(rows, workspace, run); };
}

// batch, m, n, k, scale; both sides (batch, rows, columns) with any strides
KernelCall products_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                         const Kernels& kernels, int threads) {
  Products p{};
  p.batch = words.size(), p.m = words.size(), p.n = words.size(), p.k = words.size();
  p.scale = words.number();
  words.end();
  need_counts(inputs, 2, outputs, 2);
  const auto dim = [](size_t n) { return static_cast<int64_t>(n); };
  const Tensor &a = inputs[0], &b = inputs[1];
  if (a.dtype() != Dtype::float32 || b.dtype() != Dtype::float32 || !(a.shape() == Dims{dim(p.batch), dim(p.m), dim(p.k)}) ||
      !(b.shape() == Dims{dim(p.batch), dim(p.k), dim(p.n)}))
    throw ValueError("products takes (batch, m, k) and (batch, k, n) of float32");
  p.a = a.as<float>(), p.a_batch = a.strides()[0], p.a_row = a.strides()[1], p.a_column = a.strides()[2];
  p.b = b.as<float>(), p.b_batch = b.strides()[0], p.b_row = b.strides()[1], p.b_column = b.strides()[2];
  p.c = room(outputs, 0, times({p.batch, p.m, p.n}));
  p.c_batch = static_cast<ptrdiff_t>(p.m * p.n), p.c_row = static_cast<ptrdiff_t>(p.n);
  float* workspace = room(outputs, 1, static_cast<int64_t>(products_workspace_floats(p, kernels, threads)));
  return [=](const Run& run) { multiply_each(p, workspace, run); };
}

// outer, inner, m, n, k, width, scale, the result's steps for outer, inner and m, whether there is a mask
Attention attention_of(Words& words) {
  Attention a{};
  for (size_t* size : {&a.outer, &a.inner, &a.m, &a.n, &a.k, &a.width}) *size = words.size();
  a.scale = words.number();
  for (ptrdiff_t* step : {&a.out_outer, &a.out_inner, &a.out_row}) *step = static_cast<ptrdiff_t>(words.next(0, tensor_bytes_max));
  return a;
}

const Tensor& heads(const std::vector<Tensor>& inputs, size_t i, std::initializer_list<size_t> sizes) {
  const Tensor& tensor = inputs[i];
  Dims shape;
  for (size_t size : sizes) shape.push(static_cast<int64_t>(size));
  if (tensor.dtype() != Dtype::float32 || !(tensor.shape() == shape)) throw ValueError("attention takes (heads, rows, columns) of float32");
  return tensor;
}
Heads steps_of(const Tensor& t) { return {t.as<float>(), t.strides()[0], t.strides()[1], t.strides()[2]}; }

// queries (heads, m, k), keys (heads, k, n), values (heads, n, width) with any strides; a mask (outer, inner, m, n)
KernelCall attention_call(Words words, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                          const Kernels& kernels, int threads) {
  Attention a = attention_of(words);
  const bool masked = words.flag();
  words.end();
  need_counts(inputs, masked ? 4 : 3, outputs, 2);
  const auto all = static_cast<size_t>(times({a.outer, a.inner}));
  a.queries = steps_of(heads(inputs, 0, {all, a.m, a.k}));
  a.keys = steps_of(heads(inputs, 1, {all, a.k, a.n}));
  a.values = steps_of(heads(inputs, 2, {all, a.n, a.width}));
  if (masked) {
    const Tensor& mask = heads(inputs, 3, {a.outer, a.inner, a.m, a.n});
    if (mask.strides()[3] != 0 && mask.strides()[3] != 1) throw ValueError("a mask's columns are neighbours");
    a.mask = mask.as<float>();
    a.mask_outer = mask.strides()[0], a.mask_inner = mask.strides()[1];
    a.mask_row = mask.strides()[2], a.mask_column = mask.strides()[3];
  }
  int64_t reach = static_cast<int64_t>(a.width);
  for (const auto& [size, step] : {std::pair{a.outer, a.out_outer}, {a.inner, a.out_inner}, {a.m, a.out_row}})
    if (__builtin_add_overflow(reach, times({size - 1, static_cast<size_t>(step)}), &reach)) throw ValueError("attention's steps are impossible");
  a.out = room(outputs, 0, reach);
  float* workspace = room(outputs, 1, static_cast<int64_t>(attention_workspace_floats(a, kernels, threads)));
  return [=](const Run& run) { attend(a, workspace, run); };
}

}  // namespace

KernelCall product_call(int64_t id, const Words& words, const std::vector<Tensor>& inputs,
                        const std::vector<Tensor>& outputs, const Kernels& kernels, int threads) {
  switch (id) {
    case plan::pack_right: return pack_right_call(words, inputs, outputs, kernels);
    case plan::product: return packed_product_call(words, inputs, outputs, kernels, threads);
    case plan::row_product: return row_product_call(words, inputs, outputs, kernels, threads);
    case plan::pack_int8: return pack_int8_call(words, inputs, outputs, kernels);
    case plan::product_int8: return product_int8_call(words, inputs, outputs, kernels);
    case plan::pack_strassen: return pack_strassen_call(words, inputs, outputs, kernels);
    case plan::product_strassen: return product_strassen_call(words, inputs, outputs, kernels);
    case plan::products: return products_call(words, inputs, outputs, kernels, threads);
    case plan::attention: return attention_call(words, inputs, outputs, kernels, threads);
    default: return nullptr;
  }
}

std::pair<int64_t, int64_t> product_floats(int64_t id, Words& words, const Kernels& kernels, int threads) {
  const auto count = [](size_t n) { return static_cast<int64_t>(n); };
  if (id == plan::product) {
    Product product{};
    product.m = words.size(), product.n = words.size(), product.k = words.size();
    times({product.k, product.n});
    return {count(packed_floats(product.k, product.n, kernels)), count(product_workspace_floats(product, kernels, threads))};
  }
  if (id == plan::product_int8) {
    Product product{};
    product.m = words.size(), product.n = words.size(), product.k = words.size();
    times({product.m, product.k, 2});
    return {count(floats_for(packed_int8_bytes(product.k, product.n, kernels))),
            count(floats_for(product_int8_workspace_bytes(product)))};
  }
  if (id == plan::product_strassen) {
    const size_t m = words.size(), n = words.size(), k = words.size();
    if (!strassen_fits(m, n, k)) return {-1, -1};
    return {count(strassen_packed_floats(k, n, kernels)), count(strassen_workspace_floats(m, n, k))};
  }
  if (id == plan::row_product) {
    const size_t m = words.size(), n = words.size(), k = words.size();
    return {0, count(row_product_workspace_floats(m, n, k, kernels, threads))};
  }
  if (id == plan::products) {
    Products p{};
    p.batch = words.size(), p.m = words.size(), p.n = words.size(), p.k = words.size();
    times({p.batch, p.m, p.n});
    return {0, count(products_workspace_floats(p, kernels, threads))};
  }
  if (id == plan::attention) {
    Attention a = attention_of(words);
    // Whether Q is written anew hangs on its strides, which words do not say: room for it is always counted.
    return {0, count(attention_workspace_floats(a, kernels, threads))};
  }
  throw ValueError("there is no kernel command " + std::to_string(id));
}

}  // namespace shoal
