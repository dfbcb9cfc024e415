// 16 floats a vector; a 14 x 32 tile takes 28 of the 32 registers. Compiled with -mavx512f and its usual company.
#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)
#define LEVEL Level::avx512
#define LANES 16
#define BLOCK 16
#define REGISTERS 32
#define PANEL 4
#define MEMORY_OPERAND 1
#define STEPS_AHEAD 16
#define TILE_ROWS 14
#define TILE_VECTORS 2
#include "kernels/table.inl.h"

namespace shoal {
const Kernels* avx512_kernels() { return &table; }
}  // namespace shoal
#else
namespace shoal {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace shoal
#endif
