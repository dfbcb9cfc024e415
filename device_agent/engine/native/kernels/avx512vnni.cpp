// The 8-bit tile for machines that multiply and sum four bytes in one instruction. Compiled with -mavx512vnni.
#include "kernels/kernels.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#define LEVEL Level::avx512
#define LANES 16
#define BLOCK 16
#define REGISTERS 32
#define PANEL 4
#define MEMORY_OPERAND 1
#define STEPS_AHEAD 16
#define TILE_ROWS 14
#define TILE_VECTORS 2
#include "kernels/simd.h"
//
#include "kernels/elementwise.inl.h"
#include "kernels/gemm.inl.h"
//
#include "kernels/activation.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/tile_int8.inl.h"

namespace shoal {
TileInt8Kernel vnni_tile_int8() { return tile_int8<16>; }
}  // namespace shoal
#else
namespace shoal {
TileInt8Kernel vnni_tile_int8() { return nullptr; }
}  // namespace shoal
#endif
