// The register tile: what matrix products and convolutions of every kind come down to.
//
// C (rows, vectors * lanes) = A (rows, k) @ B (k, vectors * lanes), held in registers while k runs. B's lines are `b_step`
// apart: packed weights, or a plain picture's channels where they lie. A is read where it lies: its rows are `a_row` apart (pixels of a picture, rows of a matrix), and k walks over runs
// of neighbouring floats: `blocks` times `lines` times `taps` runs of `run` floats. A matrix has one run; a convolution
// over channel blocks walks (block of channels, kernel row, kernel column, channel).
//
// Rules: every number counts floats. Nothing is read behind a run's end nor behind B's last vector.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal {

// What is done to each result: first `clip` between low and high, or a function. relu is clip to (0, inf).
enum class Activation : uint8_t {
  none, clip, sigmoid, silu, tanh, gelu, gelu_tanh, hard_swish, hard_sigmoid, leaky_relu, elu, softplus, mish, erf, exp
};

struct Reach {
  size_t blocks, lines, taps;  // 1 at least, each
  size_t run, last_run;        // floats in a row; in the last block
  ptrdiff_t block, line, tap;  // from one to the next
  ptrdiff_t soon;              // from a run to what is asked for ahead of its turn; 0: what a cache foresees by itself
};

// A run in each of `blocks` blocks of channels, one channel after another. As taps, which cost less to step over than
// blocks do, where all runs are equally long.
inline Reach reach_over(size_t blocks, size_t run, size_t last_run, ptrdiff_t block) {
  if (run == last_run) return {1, 1, blocks, run, run, 0, 0, block, block};
  return {blocks, 1, 1, run, last_run, block, 0, 0, 0};
}

struct Tile {
  Reach reach;
  const float* a;
  ptrdiff_t a_row;
  const float* b;
  ptrdiff_t b_step;  // from one k to the next: vectors * lanes when B is packed
  float* c;
  ptrdiff_t c_row, c_block;  // c_block: from one vector of columns to the next
  size_t width;              // columns that exist, <= vectors * lanes; 1 at least
  bool accumulate;           // C holds what earlier parts of k made
  bool finish;               // the last part of k: what follows is done
  const float* bias;         // vectors * lanes, or null
  const float* row_bias;     // one a row, or null
  const float* residual;     // added before the activation; steps as C's; or null
  ptrdiff_t residual_row, residual_block;
  Activation activation;
  float low, high;           // clip's; leaky_relu's and elu's slope is `low`; hard_sigmoid's slope and shift
};

constexpr int tile_vectors_max = 4;
constexpr int tile_rows_limit = 12;

}  // namespace shoal
