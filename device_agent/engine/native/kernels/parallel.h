// What the drivers of kernels share: pieces of work over a pool, and panels of columns.
//
// Rules: included by code that is compiled without a level's machine flags only (simd.h says why).
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "kernels/run.h"
#include "threads/denormals.h"

namespace shoal {

enum class Denormals { as_zeros, kept };

// Runs body(index, worker) for every index below `pieces`; false when cancelled.
template <Denormals denormals = Denormals::as_zeros, typename Body>
bool share(const Run& run, size_t pieces, const Body& body) {
  const auto piece = [](void* context, size_t index, int worker) {
    const std::conditional_t<denormals == Denormals::as_zeros, FlushDenormals, Unflushed> mode;
    (*static_cast<const Body*>(context))(index, worker);
  };
  void* context = const_cast<Body*>(&body);
  return run.pool == nullptr ? run_alone(pieces, piece, context, run.cancelled)
                             : run.pool->run(pieces, piece, context, run.cancelled);
}

inline size_t pieces_of(size_t whole, size_t part) { return (whole + part - 1) / part; }

// `whole` cut into as few parts of at most `part` as do, all about equally long.
struct Parts {
  size_t whole, count;

  Parts(size_t whole_, size_t part) : whole(whole_), count(pieces_of(whole_, part)) {}
  size_t begin(size_t i) const { return i * whole / count; }
  size_t size(size_t i) const { return begin(i + 1) - begin(i); }
};

// Blocks of columns in panels of at most a register tile's vectors. A panel is packed k after k, panels one after another.
inline Parts panels_of(size_t columns, const Kernels& kernels) {
  return {pieces_of(columns, static_cast<size_t>(kernels.lanes)), static_cast<size_t>(kernels.tile_vectors)};
}

// Rows that a register tile of so many vectors takes.
inline size_t tile_rows(const Kernels& kernels, size_t vectors) { return kernels.tile_rows[vectors]; }

// Less than two threads gain by: waking one and moving what it wrote back costs a microsecond or two.
constexpr double alone_flops = 5e5;

// How much one piece does, so that a cancelled kernel stops soon and a pool's threads end together.
constexpr double piece_flops = 8e6;
constexpr size_t pieces_a_thread = 4;

// Into how many chunks each of `panels` equal panels is cut, when one has `units` that may not be cut and `flops` in all.
inline size_t chunks_of(size_t units, size_t panels, double flops, int threads) {
  const size_t by_time = static_cast<size_t>(flops / piece_flops) + 1;
  const size_t by_threads = threads == 1 ? 1 : pieces_of(static_cast<size_t>(threads) * pieces_a_thread, panels);
  return std::max<size_t>(1, std::min(units, std::max(by_time, by_threads)));
}

// Rows in a piece: at most as many as are `floats` of size, and so few that each thread has some pieces, unless all of it is
// too little to be worth a second thread.
constexpr size_t alone_floats = 4 * 1024;
inline size_t rows_in_piece(size_t rows, size_t row_floats, size_t floats, int threads) {
  const size_t by_size = std::max<size_t>(1, floats / std::max<size_t>(row_floats, 1));
  if (threads == 1 || rows * row_floats <= alone_floats) return by_size;
  return std::clamp<size_t>(pieces_of(rows, static_cast<size_t>(threads) * pieces_a_thread), 1, by_size);
}

}  // namespace shoal
