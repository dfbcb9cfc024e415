// The table of one level: LANES floats a vector, tiles of TILE_ROWS by TILE_VECTORS vectors. Its includer sets these, and
// for the tiles of kernels/tile.h BLOCK floats a vector, REGISTERS of the machine, PANEL vectors, MEMORY_OPERAND, and
// STEPS_AHEAD, at which B is asked for.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels/chain_step.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"
//
#include "kernels/elementwise.inl.h"
#include "kernels/gemm.inl.h"
//
#include "kernels/activation.inl.h"
#include "kernels/chain.inl.h"
#include "kernels/half_rows.inl.h"
#include "kernels/layout.inl.h"
#include "kernels/lines.inl.h"
#include "kernels/peak.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/tile_int8.inl.h"
//
#include "kernels/depthwise.inl.h"
#include "kernels/winograd.inl.h"

namespace shoal {
namespace {

using Product = Blocked<LANES, TILE_VECTORS, TILE_ROWS>;

constexpr int lanes64 = LANES > 1 ? LANES / 2 : 1;
constexpr int lanes8 = LANES > 1 ? LANES * 4 : 1;

void tile(int vectors, int rows, const Tile& t) {
  switch (vectors) {
    case 1: return tile_of<BLOCK, 1, rows_max<1>>(rows, t);
    case 2: return tile_of<BLOCK, 2, rows_max<2>>(rows, t);
    case 3: return tile_of<BLOCK, 3, rows_max<3>>(rows, t);
    default: return tile_of<BLOCK, 4, rows_max<4>>(rows, t);
  }
}

constexpr Kernels table = {
    LEVEL,
    binary<float, LANES>,
    binary<int32_t, LANES>,
    binary<int64_t, lanes64>,
    binary<uint8_t, lanes8>,
    unary_f32<LANES>,
    unary_integer<int32_t, LANES>,
    unary_integer<int64_t, lanes64>,
    unary_integer<uint8_t, lanes8>,
    reduce<float, LANES>,
    reduce<int32_t, LANES>,
    reduce<int64_t, lanes64>,
    softmax_row<LANES>,
    Product::workspace,
    Product::run,
    BLOCK,
    PANEL,
    {0, rows_max<1>, rows_max<2>, rows_max<3>, rows_max<4>},
    tile,
    depthwise_line<BLOCK>,
    depthwise_plain_line<BLOCK>,
    normalize_row<BLOCK>,
    pool_row<BLOCK>,
    chain_step<BLOCK>,
    activate_line<BLOCK>,
    interleave<BLOCK>,
    deinterleave<BLOCK>,
    winograd_in_of<BLOCK>,
    winograd_out_of<BLOCK>,
    tile_int8<BLOCK>,
    quantize_row<BLOCK>,
    largest_of_pixels<BLOCK>,
    quantize_pixels<BLOCK>,
    half_rows<BLOCK>,
    multiply_only<BLOCK>,
};

}  // namespace
}  // namespace shoal
