// The table of one level: LANES floats a vector, tiles of TILE_ROWS by TILE_VECTORS vectors. Its includer sets these.
#include "kernels/kernels.h"
#include "kernels/simd.h"
//
#include "kernels/elementwise.inl.h"
#include "kernels/gemm.inl.h"

namespace shoal {
namespace {

using Product = Blocked<LANES, TILE_VECTORS, TILE_ROWS>;

constexpr int lanes64 = LANES > 1 ? LANES / 2 : 1;
constexpr int lanes8 = LANES > 1 ? LANES * 4 : 1;

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
};

}  // namespace
}  // namespace shoal
