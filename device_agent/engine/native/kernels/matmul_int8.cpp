// Products in 8-bit integers by register tiles over a packed right side.
//
// Packed: column scales, column sums, bias (n, to whole vectors, 4 bytes each), then panels (panel, quad of k, vectors *
// lanes, 4). Workspace: the scale of each row of A, then its bytes (m, k to whole quads).
#include "kernels/matmul_int8.h"

#include <cmath>
#include <cstring>

#include "kernels/matmul_int8_parts.h"

namespace shoal {

namespace {

constexpr size_t quantized_in_piece = 32 * 1024;

size_t row_bytes(const Product& product) { return pieces_of(product.k, 4) * 4; }
size_t scales_bytes(const Product& product) { return pieces_of(product.m, 16) * 16 * sizeof(float); }

bool quantize_rows(const Product& product, float* scales, uint8_t* rows, const Run& run) {
  const size_t wide = row_bytes(product);
  const size_t in_piece = std::max<size_t>(1, quantized_in_piece / std::max<size_t>(wide, 1));
  return share(run, pieces_of(product.m, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, product.m); ++i) {
      uint8_t* to = rows + i * wide;
      scales[i] = run.kernels.quantize_row(product.a + static_cast<ptrdiff_t>(i) * product.a_row, product.k, to);
      std::memset(to + product.k, 128, wide - product.k);
    }
  });
}

}  // namespace

TileInt8Kernel vnni_tile_int8();  // kernels/avx512vnni.cpp; null where the compiler cannot make it

TileInt8Kernel tile_int8_of(const Kernels& kernels) {
#if defined(__x86_64__)
  if (kernels.level == Level::avx512 && vnni_tile_int8() != nullptr && __builtin_cpu_supports("avx512vnni"))
    return vnni_tile_int8();
#endif
  return kernels.tile_int8;
}

size_t packed_int8_bytes(size_t k, size_t n, const Kernels& kernels) {
  const LayoutInt8 layout(k, n, kernels);
  return layout.bytes();
}

void pack_right_int8(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                     void* packed, const Kernels& kernels) {
  const auto at = [=](size_t j, size_t p) {
    return b[static_cast<ptrdiff_t>(j) * b_column + static_cast<ptrdiff_t>(p) * b_row];
  };
  float top = 0;  // of the column that is being packed
  const auto column = [&](size_t j) {
    top = 0;
    for (size_t p = 0; p < k; ++p) top = std::max(top, std::fabs(at(j, p)));
    return top / 127.0f;
  };
  pack_columns(bias, k, n, packed, kernels, column, [&](size_t j, size_t p) {
    return static_cast<int8_t>(std::lrintf(top > 0 ? at(j, p) / top * 127.0f : 0.0f));
  });
}

void pack_right_int8(const int8_t* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* scales, const float* bias,
                     size_t k, size_t n, void* packed, const Kernels& kernels) {
  pack_columns(bias, k, n, packed, kernels, [=](size_t j) { return scales[j]; }, [=](size_t j, size_t p) {
    return b[static_cast<ptrdiff_t>(j) * b_column + static_cast<ptrdiff_t>(p) * b_row];
  });
}

size_t product_int8_workspace_bytes(const Product& product) {
  return scales_bytes(product) + product.m * row_bytes(product);
}

bool multiply_int8(const Product& product, const void* packed, void* workspace, const Run& run) {
  if (product.m == 0 || product.n == 0) return true;
  const LayoutInt8 layout(product.k, product.n, run.kernels);
  const PackedInt8<const std::byte> from(static_cast<const std::byte*>(packed), layout);
  auto* scales = static_cast<float*>(workspace);
  uint8_t* rows = static_cast<uint8_t*>(workspace) + scales_bytes(product);
  if (!quantize_rows(product, scales, rows, run)) return false;
  const TileInt8Kernel kernel = tile_int8_of(run.kernels);
  const double flops = 0.5 * static_cast<double>(product.m * product.k) *
                       static_cast<double>(layout.panels.size(0) * layout.lanes);
  const size_t units = pieces_of(product.m, tile_rows(run.kernels, layout.panels.size(0)));
  const size_t chunks = chunks_of(units, layout.panels.count, flops, run.threads());
  return share(run, layout.panels.count * chunks, [&](size_t index, int) {
    const size_t panel = index / chunks, chunk = index % chunks;
    const size_t first = layout.panels.begin(panel) * layout.lanes, vectors = layout.panels.size(panel);
    const Parts parts(product.m, tile_rows(run.kernels, vectors));
    TileInt8 tile{};
    tile.lines = 1;
    tile.quads = layout.quads;
    tile.a_row = static_cast<ptrdiff_t>(row_bytes(product));
    tile.b = from.panels + first * 4 * layout.quads;
    tile.b_sums = from.sums + first;
    tile.b_scales = from.scales + first;
    tile.bias = from.bias + first;
    tile.c_row = product.c_row;
    tile.c_block = tile.residual_block = run.kernels.lanes;
    tile.width = std::min(vectors * layout.lanes, product.n - first);
    tile.residual_row = product.residual_row;
    tile.activation = product.activation;
    tile.low = product.low;
    tile.high = product.high;
    for (size_t i = chunk * parts.count / chunks; i < (chunk + 1) * parts.count / chunks; ++i) {
      const size_t row = parts.begin(i);
      const auto at = static_cast<ptrdiff_t>(row), column = static_cast<ptrdiff_t>(first);
      tile.a = rows + row * row_bytes(product);
      tile.a_scales = scales + row;
      tile.c = product.c + at * product.c_row + column;
      if (product.residual != nullptr) tile.residual = product.residual + at * product.residual_row + column;
      kernel(static_cast<int>(vectors), static_cast<int>(parts.size(i)), tile);
    }
  });
}

}  // namespace shoal
