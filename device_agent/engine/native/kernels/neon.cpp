// 4 floats a vector, 32 registers: every 64-bit ARM has them.
#include "kernels/kernels.h"

#if defined(__aarch64__)
#define LEVEL Level::neon
#define LANES 4
#define BLOCK 4
#define REGISTERS 32
#define PANEL 3
#define MEMORY_OPERAND 0
#define STEPS_AHEAD 16
#define TILE_ROWS 8
#define TILE_VECTORS 3
#include "kernels/table.inl.h"

namespace shoal {
const Kernels* neon_kernels() { return &table; }
}  // namespace shoal
#else
namespace shoal {
const Kernels* neon_kernels() { return nullptr; }
}  // namespace shoal
#endif
