// Matrix products by register tiles over a packed right side.
//
// Packed: bias (n, to whole vectors), then panels (panel, k, vectors * lanes). A piece is a panel and some rows of A; k
// runs in passes that keep the panel's part in the second-level cache. A is read where it lies, unless its columns are not
// neighbours: then it is written row by row into the workspace first.
#include "kernels/matmul.h"

#include <cstring>

#include "kernels/matmul_parts.h"

namespace shoal {

namespace {

constexpr size_t pass_bytes = 96 * 1024;  // of B in a pass; a second-level cache has room for two
constexpr size_t transposed_in_piece = 16 * 1024;

}  // namespace

void pack_panel(const RightSide& from, size_t first, size_t width, float scale, float* to, const Kernels& kernels) {
  const auto lanes = static_cast<size_t>(kernels.lanes);
  const float* columns = from.at + static_cast<ptrdiff_t>(first) * from.column;
  for (size_t v = 0; v < width; v += lanes) {
    const size_t real = first + v >= from.n ? 0 : std::min(lanes, from.n - first - v);
    const float* part = columns + static_cast<ptrdiff_t>(v) * from.column;
    if (from.column == 1 && real == lanes) {
      for (size_t p = 0; p < from.k; ++p)
        std::memcpy(to + p * width + v, part + static_cast<ptrdiff_t>(p) * from.row, lanes * sizeof(float));
    } else {
      kernels.interleave(part, from.column, from.row, real, to + v, static_cast<ptrdiff_t>(width), from.k);
    }
  }
  if (scale != 1.0f)
    for (size_t i = 0; i < from.k * width; ++i) to[i] *= scale;
}

size_t panels_floats(size_t k, size_t n, const Kernels& kernels) {
  const auto lanes = static_cast<size_t>(kernels.lanes);
  return pieces_of(n, lanes) * lanes * k;
}

void pack_panels(const RightSide& from, float scale, float* to, const Kernels& kernels) {
  const Parts panels = panels_of(from.n, kernels);
  const auto lanes = static_cast<size_t>(kernels.lanes);
  for (size_t panel = 0; panel < panels.count; ++panel) {
    const size_t first = panels.begin(panel) * lanes;
    pack_panel(from, first, panels.size(panel) * lanes, scale, to + first * from.k, kernels);
  }
}

void rows_of_panel(const Product& product, const float* a, ptrdiff_t a_row, const float* bias, const float* panel,
                   size_t column, size_t width, size_t first, size_t last, const Parts& parts,
                   const Kernels& kernels) {
  Tile tile{};
  tile.a_row = a_row;
  tile.b_step = static_cast<ptrdiff_t>(width);
  tile.c_row = product.c_row;
  tile.c_block = kernels.lanes;
  tile.width = std::min(width, product.n - column);
  tile.bias = bias;
  tile.residual_row = product.residual_row;
  tile.residual_block = kernels.lanes;
  tile.activation = product.activation;
  tile.low = product.low;
  tile.high = product.high;
  const size_t depth = std::max<size_t>(pass_bytes / (width * sizeof(float)), 1);
  const Parts passes(std::max<size_t>(product.k, 1), depth);
  for (size_t pass = 0; pass < passes.count; ++pass) {
    const size_t k0 = passes.begin(pass), run = product.k == 0 ? 0 : passes.size(pass);
    tile.reach = {1, 1, 1, run, run, 0, 0, 0, 0};
    tile.b = panel + k0 * width;
    tile.accumulate = product.accumulate || pass > 0;
    tile.finish = pass + 1 == passes.count;
    for (size_t i = first; i < last; ++i) {
      const auto row = static_cast<ptrdiff_t>(parts.begin(i)), at = static_cast<ptrdiff_t>(column);
      tile.a = a + row * a_row + static_cast<ptrdiff_t>(k0);
      tile.c = product.c + row * product.c_row + at;
      if (product.residual != nullptr) tile.residual = product.residual + row * product.residual_row + at;
      kernels.tile(static_cast<int>(width / static_cast<size_t>(kernels.lanes)), static_cast<int>(parts.size(i)), tile);
    }
  }
}

void rows_of_panels(const Product& product, const float* packed, const Kernels& kernels) {
  const Parts panels = panels_of(product.n, kernels);
  const auto lanes = static_cast<size_t>(kernels.lanes);
  for (size_t panel = 0; panel < panels.count; ++panel) {
    const size_t first = panels.begin(panel) * lanes;
    const Parts parts(product.m, tile_rows(kernels, panels.size(panel)));
    rows_of_panel(product, product.a, product.a_row, nullptr, packed + first * product.k, first,
                  panels.size(panel) * lanes, 0, parts.count, parts, kernels);
  }
}

size_t packed_floats(size_t k, size_t n, const Kernels& kernels) {
  const auto lanes = static_cast<size_t>(kernels.lanes);
  return pieces_of(n, lanes) * lanes * (k + 1);
}

bool pack_right(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                float* packed, const Run& run) {
  const Parts panels = panels_of(n, run.kernels);
  const auto lanes = static_cast<size_t>(run.kernels.lanes);
  for (size_t i = 0; i < panels.whole * lanes; ++i) packed[i] = bias != nullptr && i < n ? bias[i] : 0.0f;
  float* to = packed + panels.whole * lanes;
  return share(run, panels.count, [&](size_t panel, int) {
    const size_t first = panels.begin(panel) * lanes;
    pack_panel({b, b_row, b_column, k, n}, first, panels.size(panel) * lanes, 1.0f, to + first * k, run.kernels);
  });
}

void pack_right(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n,
                float* packed, const Kernels& kernels) {
  pack_right(b, b_row, b_column, bias, k, n, packed, Run{kernels});
}

size_t product_workspace_floats(const Product& product, const Kernels&, int) {
  return product.a_column == 1 ? 0 : product.m * product.k;
}

bool multiply(const Product& product, const float* packed, float* workspace, const Run& all) {
  if (product.m == 0 || product.n == 0) return true;
  const double work = 2.0 * static_cast<double>(product.m * product.k) * static_cast<double>(product.n);
  const Run run = work < alone_flops ? all.alone() : all;
  const Parts panels = panels_of(product.n, run.kernels);
  const auto lanes = static_cast<size_t>(run.kernels.lanes);
  const float* a = product.a;
  ptrdiff_t a_row = product.a_row;
  if (product.a_column != 1) {
    const size_t rows = std::max<size_t>(1, transposed_in_piece / std::max<size_t>(product.k, 1));
    if (!share(run, pieces_of(product.m, rows), [&](size_t index, int) {
          for (size_t i = index * rows; i < std::min((index + 1) * rows, product.m); ++i)
            for (size_t p = 0; p < product.k; ++p)
              workspace[i * product.k + p] = product.a[static_cast<ptrdiff_t>(i) * product.a_row +
                                                       static_cast<ptrdiff_t>(p) * product.a_column];
        }))
      return false;
    a = workspace;
    a_row = static_cast<ptrdiff_t>(product.k);
  }
  const double flops = 2.0 * static_cast<double>(product.m * product.k) * static_cast<double>(panels.size(0) * lanes);
  const size_t units = pieces_of(product.m, tile_rows(run.kernels, panels.size(0)));
  const size_t chunks = chunks_of(units, panels.count, flops, run.threads());
  const float* of_panels = packed + panels.whole * lanes;
  return share(run, panels.count * chunks, [&](size_t index, int) {
    const size_t panel = index / chunks, chunk = index % chunks, first = panels.begin(panel) * lanes;
    const Parts parts(product.m, tile_rows(run.kernels, panels.size(panel)));
    rows_of_panel(product, a, a_row, packed + first, of_panels + first * product.k, first,
                  panels.size(panel) * lanes, chunk * parts.count / chunks, (chunk + 1) * parts.count / chunks, parts,
                  run.kernels);
  });
}

size_t products_workspace_floats(const Products& products, const Kernels& kernels, int threads) {
  const size_t panel = static_cast<size_t>(kernels.tile_vectors * kernels.lanes) * products.k;
  const size_t rows = products.a_column == 1 ? 0 : products.m * products.k;
  return (panel + rows) * static_cast<size_t>(threads);
}

bool multiply_each(const Products& products, float* workspace, const Run& run) {
  if (products.m == 0 || products.n == 0) return true;
  const Parts panels = panels_of(products.n, run.kernels);
  const auto lanes = static_cast<size_t>(run.kernels.lanes);
  const size_t room = products_workspace_floats(products, run.kernels, 1);
  // All panels of a matrix in one piece when A has to be written anew for them, else one each.
  const size_t in_piece = products.a_column == 1 ? 1 : panels.count;
  const size_t pieces = panels.count / in_piece;
  return share(run, products.batch * pieces, [&](size_t index, int worker) {
    const auto at = static_cast<ptrdiff_t>(index / pieces);
    Product product{};
    product.m = products.m;
    product.n = products.n;
    product.k = products.k;
    product.c = products.c + at * products.c_batch;
    product.c_row = products.c_row;
    float* packed = workspace + static_cast<size_t>(worker) * room;
    const float* a = products.a + at * products.a_batch;
    ptrdiff_t a_row = products.a_row;
    if (products.a_column != 1) {
      float* rows = packed + static_cast<size_t>(run.kernels.tile_vectors) * lanes * products.k;
      for (size_t i = 0; i < products.m; ++i)
        for (size_t p = 0; p < products.k; ++p)
          rows[i * products.k + p] =
              a[static_cast<ptrdiff_t>(i) * products.a_row + static_cast<ptrdiff_t>(p) * products.a_column];
      a = rows;
      a_row = static_cast<ptrdiff_t>(products.k);
    }
    for (size_t panel = index % pieces * in_piece; panel < (index % pieces + 1) * in_piece; ++panel) {
      const size_t first = panels.begin(panel) * lanes, width = panels.size(panel) * lanes;
      pack_panel({products.b + at * products.b_batch, products.b_row, products.b_column, products.k, products.n}, first,
                 width, products.scale, packed, run.kernels);
      const Parts parts(products.m, tile_rows(run.kernels, panels.size(panel)));
      rows_of_panel(product, a, a_row, nullptr, packed, first, width, 0, parts.count, parts, run.kernels);
    }
  });
}

}  // namespace shoal
