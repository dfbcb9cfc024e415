// 8 floats a vector; a 6 x 16 tile takes 12 of the 16 registers. Compiled with -mavx2 -mfma where that exists.
#include "kernels/kernels.h"

#if defined(__AVX2__) && defined(__FMA__)
#define LEVEL Level::avx2
#define LANES 8
#define BLOCK 8
#define REGISTERS 16
#define PANEL 2
#define MEMORY_OPERAND 0
#define STEPS_AHEAD 32
#define TILE_ROWS 6
#define TILE_VECTORS 2
#include "kernels/table.inl.h"

namespace shoal {
const Kernels* avx2_kernels() { return &table; }
}  // namespace shoal
#else
namespace shoal {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace shoal
#endif
