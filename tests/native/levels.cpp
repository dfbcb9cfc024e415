// Every level of kernels that this machine runs against the portable one: convolutions by each algorithm, products in
// floats, in 8 bits and of 16-bit weights, attention, rows. For machines that the Python tests do not reach: `make test-neon` runs it under qemu.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels/attention.h"
#include "kernels/convolution.h"
#include "kernels/convolution_int8.h"
#include "kernels/lines.h"
#include "kernels/matmul.h"
#include "kernels/matmul_int8.h"
#include "kernels/row_product.h"
#include "kernels/strassen.h"

namespace {

using namespace shoal;
using Floats = std::vector<float>;

int wrong = 0;

Floats numbers(size_t n, uint32_t seed) {
  Floats made(n);
  for (float& x : made) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return made;
}

void compare(const char* what, const char* level, const Floats& got, const Floats& want, double tolerance) {
  double most = 0;
  for (size_t i = 0; i < want.size(); ++i) most = std::fmax(most, std::fabs(static_cast<double>(got[i]) - want[i]));
  const bool holds = got.size() == want.size() && most <= tolerance;
  std::printf("%-10s %-9s error %.2e %s\n", what, level, most, holds ? "" : "TOO MUCH");
  wrong += !holds;
}

Floats convolved(ConvAlgorithm algorithm, size_t groups, const Kernels& kernels) {
  Convolution conv{};
  const size_t in = algorithm == ConvAlgorithm::planar ? 3 : 24, out = 24, size = 17;
  conv.shape = {1, groups, in, size, size, out, size, size, 3, 3, 1, 1, 1, 1, 1, 1};
  conv.algorithm = algorithm;
  const size_t lanes = lanes_of(kernels);
  const bool blocked_out = algorithm != ConvAlgorithm::im2col;
  const bool blocked_in = blocked_out && algorithm != ConvAlgorithm::planar;
  const Floats x = numbers(in * size * size, 1), w = numbers(out * in / groups * 9, 2), bias = numbers(out, 3);
  Floats laid(blocked_floats(1, in, size, size, lanes)), made(blocked_floats(1, out, size, size, lanes));
  Floats packed(weights_floats(conv, kernels)), room(workspace_floats(conv, kernels, 1) + 1), plain(out * size * size);
  const Run run{kernels};
  const Picture from = plain_picture(in, size, size), to = plain_picture(out, size, size);
  const Picture in_blocks = blocked_picture(in, size, size, lanes), out_blocks = blocked_picture(out, size, size, lanes);
  to_blocked(x.data(), from, laid.data(), in_blocks, 1, in, size, size, run);
  pack_weights(conv, w.data(), bias.data(), packed.data(), kernels);
  const Epilogue epilogue{Activation::silu, 0, 0, nullptr, {}};
  convolve(conv, blocked_in ? laid.data() : x.data(), blocked_in ? in_blocks : from, packed.data(), epilogue,
           blocked_out ? made.data() : plain.data(), blocked_out ? out_blocks : to, room.data(), run);
  if (blocked_out) to_plain(made.data(), out_blocks, plain.data(), to, 1, out, size, size, run);
  return plain;
}

Floats multiplied(bool int8, const Kernels& kernels) {
  const size_t m = 13, n = 37, k = 70;
  const Floats a = numbers(m * k, 4), b = numbers(k * n, 5), bias = numbers(n, 6);
  Floats c(m * n), packed(packed_floats(k, n, kernels) + packed_int8_bytes(k, n, kernels) / 4), room(m * k + 1024);
  const Product product{m, n, k, a.data(), static_cast<ptrdiff_t>(k), 1, c.data(), static_cast<ptrdiff_t>(n)};
  const Run run{kernels};
  if (int8) {
    pack_right_int8(b.data(), n, 1, bias.data(), k, n, packed.data(), kernels);
    multiply_int8(product, packed.data(), room.data(), run);
  } else {
    pack_right(b.data(), n, 1, bias.data(), k, n, packed.data(), kernels);
    multiply(product, packed.data(), room.data(), run);
  }
  return c;
}

Floats softened(const Kernels& kernels) {
  const Floats x = numbers(5 * 77, 7);
  Floats out(x.size());
  softmax(x.data(), out.data(), 5, 77, Run{kernels});
  return out;
}

Floats convolved_int8(const Kernels& kernels) {
  const size_t channels = 22, size = 11, lanes = lanes_of(kernels);
  const ConvShape s{1, 1, channels, size, size, channels, size, size, 3, 3, 1, 1, 1, 1, 1, 1};
  const Floats x = numbers(channels * size * size, 8), scales = numbers(channels, 9), bias = numbers(channels, 10);
  std::vector<int8_t> weights(channels * channels * 9);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<int8_t>(i * 37 % 255 - 127);
  const Picture plain = plain_picture(channels, size, size), blocks = blocked_picture(channels, size, size, lanes);
  Floats in(blocked_floats(1, channels, size, size, lanes)), made(in.size()), out(x.size());
  Floats packed(conv_int8_weights_bytes(s, kernels) / 4), room(conv_int8_workspace_bytes(s, kernels) / 4 + 1);
  const Run run{kernels};
  to_blocked(x.data(), plain, in.data(), blocks, 1, channels, size, size, run);
  pack_conv_int8(s, weights.data(), scales.data(), bias.data(), packed.data(), kernels);
  convolve_int8(s, in.data(), blocks, packed.data(), {}, made.data(), blocks, room.data(), run);
  to_plain(made.data(), blocks, out.data(), plain, 1, channels, size, size, run);
  return out;
}

// Rows by weights of 16 bits; every pattern of a finite number comes up.
Floats multiplied_rows(RowSide side, bool turned, const Kernels& kernels) {
  const size_t m = 3, n = 83, k = 61;
  std::vector<uint16_t> b(k * n);
  const uint16_t exponent = side == RowSide::float16 ? 0x7c00 : 0x7f80;
  for (size_t i = 0; i < b.size(); ++i) {
    b[i] = static_cast<uint16_t>(i * 12'979);
    if ((b[i] & exponent) == exponent) b[i] = 0;
    if (side == RowSide::bfloat16) b[i] = static_cast<uint16_t>((b[i] & 0x807f) | 0x3f00);  // of like size
  }
  const Floats a = numbers(m * k, 11), bias = numbers(n, 12);
  Floats c(m * n), room(row_product_workspace_floats(m, n, k, kernels, 1) + 1);
  RowProduct rows{};
  rows.product = {m, n, k, a.data(), static_cast<ptrdiff_t>(k), 1, c.data(), static_cast<ptrdiff_t>(n)};
  rows.b = b.data(), rows.side = side, rows.bias = bias.data();
  rows.b_row = turned ? 1 : static_cast<ptrdiff_t>(n), rows.b_column = turned ? static_cast<ptrdiff_t>(k) : 1;
  multiply_rows(rows, room.data(), Run{kernels});
  return c;
}

Floats attended(const Kernels& kernels) {
  const size_t heads = 2, m = 19, n = 45, k = 24, width = 20;
  const Floats q = numbers(heads * m * k, 13), keys = numbers(heads * n * k, 14), v = numbers(heads * n * width, 15);
  const Floats mask = numbers(n, 16);
  Floats out(heads * m * width);
  const auto step = [](size_t x) { return static_cast<ptrdiff_t>(x); };
  const Attention a{1, heads, m, n, k, width, {q.data(), step(m * k), step(k), 1}, {keys.data(), step(n * k), 1, step(k)},
                    {v.data(), step(n * width), step(width), 1}, mask.data(), 0, 0, 0, 1, 0.2f, out.data(),
                    0, step(m * width), step(width)};
  Floats room(attention_workspace_floats(a, kernels, 1));
  attend(a, room.data(), Run{kernels});
  return out;
}

Floats multiplied_strassen(const Kernels& kernels) {
  const size_t m = 15, n = 42, k = 28;
  const Floats a = numbers(m * k, 17), b = numbers(k * n, 18), bias = numbers(n, 19);
  Floats c(m * n), packed(strassen_packed_floats(k, n, kernels)), packing(strassen_packing_floats(k, n));
  Floats room(strassen_workspace_floats(m, n, k));
  const Product product{m, n, k, a.data(), static_cast<ptrdiff_t>(k), 1, c.data(), static_cast<ptrdiff_t>(n)};
  pack_strassen(b.data(), n, 1, bias.data(), k, n, packed.data(), packing.data(), kernels);
  multiply_strassen(product, packed.data(), room.data(), Run{kernels});
  return c;
}

}  // namespace

int main() {
  const Kernels& plain = *portable_kernels();
  for (const char* name : {"neon", "avx2", "avx512"}) {
    const Kernels* level = kernels_named(name);
    if (level == nullptr) continue;
    using enum ConvAlgorithm;
    compare("direct", name, convolved(direct, 1, *level), convolved(im2col, 1, plain), 2e-5);
    compare("planar", name, convolved(planar, 1, *level), convolved(planar, 1, plain), 2e-5);
    compare("depthwise", name, convolved(depthwise, 24, *level), convolved(im2col, 24, plain), 2e-5);
    compare("winograd", name, convolved(winograd, 1, *level), convolved(im2col, 1, plain), 2e-4);
    compare("im2col", name, convolved(im2col, 4, *level), convolved(im2col, 4, plain), 2e-5);
    compare("product", name, multiplied(false, *level), multiplied(false, plain), 2e-5);
    compare("int8", name, multiplied(true, *level), multiplied(true, plain), 2e-5);
    compare("conv int8", name, convolved_int8(*level), convolved_int8(plain), 2e-3);
    for (const bool turned : {false, true}) {
      const auto of = [&](RowSide side, const Kernels& kernels) { return multiplied_rows(side, turned, kernels); };
      compare("float16", name, of(RowSide::float16, *level), of(RowSide::float16, plain), 2.0);
      compare("bfloat16", name, of(RowSide::bfloat16, *level), of(RowSide::bfloat16, plain), 2e-4);
    }
    compare("attention", name, attended(*level), attended(plain), 2e-5);
    compare("strassen", name, multiplied_strassen(*level), multiplied_strassen(plain), 2e-5);
    compare("softmax", name, softened(*level), softened(plain), 1e-6);
  }
  std::printf("%d wrong\n", wrong);
  return wrong == 0 ? 0 : 1;
}
