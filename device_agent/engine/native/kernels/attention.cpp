// Workspace of a worker: packed keys, packed values, scores of the rows at once, and those rows of Q when its columns are
// not neighbours.
#include "kernels/attention.h"

#include "kernels/matmul_parts.h"

namespace shoal {

namespace {

constexpr size_t scores_bytes = 192 * 1024;  // at once: beside keys and values in the second-level cache
constexpr size_t tiles_at_once = 8;

// Rows of queries whose scores are held at once: whole register tiles.
size_t rows_at_once(const Attention& a, const Kernels& kernels) {
  const size_t tile = tile_rows(kernels, panels_of(a.n, kernels).size(0));
  const size_t by_cache = scores_bytes / (std::max<size_t>(a.n, 1) * sizeof(float)) / tile;
  return std::min(a.m, std::clamp<size_t>(by_cache, 1, tiles_at_once) * tile);
}

struct Room {
  size_t keys, values, scores, queries;
  Room(const Attention& a, const Kernels& kernels)
      : keys(panels_floats(a.k, a.n, kernels)),
        values(panels_floats(a.n, a.width, kernels)),
        scores(rows_at_once(a, kernels) * a.n),
        queries(a.queries.column == 1 ? 0 : rows_at_once(a, kernels) * a.k) {}
  size_t all() const { return keys + values + scores + queries; }
};

// What a head reads and writes.
struct Head {
  const float* queries;
  const float* mask;
  float* out;
};

void mask_and_softmax(const Attention& a, const float* mask, size_t first, size_t rows, float* scores,
                      const Kernels& kernels) {
  for (size_t i = 0; i < rows; ++i) {
    float* row = scores + i * a.n;
    if (mask != nullptr) {
      const float* from = mask + static_cast<ptrdiff_t>(first + i) * a.mask_row;
      kernels.binary_f32(Binary::add, row, 1, from, a.mask_column, row, a.n);
    }
    kernels.softmax_row(row, row, a.n);
  }
}

// Queries first .. first + rows of one head.
void attend_rows(const Attention& a, const Head& head, size_t first, size_t rows, float* workspace, const Room& room,
                 const Kernels& kernels) {
  float *keys = workspace, *values = keys + room.keys, *scores = values + room.values, *own = scores + room.scores;
  const float* q = head.queries + static_cast<ptrdiff_t>(first) * a.queries.row;
  ptrdiff_t q_row = a.queries.row;
  if (a.queries.column != 1) {
    for (size_t i = 0; i < rows; ++i)
      for (size_t p = 0; p < a.k; ++p)
        own[i * a.k + p] = q[static_cast<ptrdiff_t>(i) * a.queries.row + static_cast<ptrdiff_t>(p) * a.queries.column];
    q = own;
    q_row = static_cast<ptrdiff_t>(a.k);
  }
  const auto n = static_cast<ptrdiff_t>(a.n);
  rows_of_panels({.m = rows, .n = a.n, .k = a.k, .a = q, .a_row = q_row, .a_column = 1, .c = scores, .c_row = n}, keys,
                 kernels);
  mask_and_softmax(a, head.mask, first, rows, scores, kernels);
  float* out = head.out + static_cast<ptrdiff_t>(first) * a.out_row;
  rows_of_panels({.m = rows, .n = a.width, .k = a.n, .a = scores, .a_row = n, .a_column = 1, .c = out, .c_row = a.out_row},
                 values, kernels);
}

}  // namespace

size_t attention_workspace_floats(const Attention& attention, const Kernels& kernels, int threads) {
  return Room(attention, kernels).all() * static_cast<size_t>(threads);
}

bool attend(const Attention& a, float* workspace, const Run& run) {
  const Kernels& kernels = run.kernels;
  if (a.outer * a.inner * a.m * a.width == 0) return true;
  const Room room(a, kernels);
  const size_t at_once = rows_at_once(a, kernels), units = pieces_of(a.m, at_once);
  const double flops = 2.0 * static_cast<double>(a.m * a.n) * static_cast<double>(a.k + a.width);
  const size_t chunks = chunks_of(units, a.outer * a.inner, flops, run.threads());
  return share(run, a.outer * a.inner * chunks, [&](size_t index, int worker) {
    const size_t at = index / chunks, chunk = index % chunks;
    const auto head = static_cast<ptrdiff_t>(at), outer = static_cast<ptrdiff_t>(at / a.inner),
               inner = static_cast<ptrdiff_t>(at % a.inner);
    float* own = workspace + static_cast<size_t>(worker) * room.all();
    pack_panels({a.keys.at + head * a.keys.head, a.keys.row, a.keys.column, a.k, a.n}, a.scale, own, kernels);
    pack_panels({a.values.at + head * a.values.head, a.values.row, a.values.column, a.n, a.width}, 1.0f, own + room.keys,
                kernels);
    const Head of{a.queries.at + head * a.queries.head,
                  a.mask == nullptr ? nullptr : a.mask + outer * a.mask_outer + inner * a.mask_inner,
                  a.out + outer * a.out_outer + inner * a.out_inner};
    for (size_t i = chunk * units / chunks; i < (chunk + 1) * units / chunks; ++i)
      attend_rows(a, of, i * at_once, std::min(at_once, a.m - i * at_once), own, room, kernels);
  });
}

}  // namespace shoal
