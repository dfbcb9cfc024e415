// Width 1: the plain code, for every machine, and the reference of the others. Tiles are 4 wide: the compiler makes
// vectors of four from what each machine has.
#define LEVEL Level::portable
#define LANES 1
#define BLOCK 4
#define REGISTERS 16
#define PANEL 2
#define MEMORY_OPERAND 0
#define STEPS_AHEAD 16
#define TILE_ROWS 4
#define TILE_VECTORS 4
#include "kernels/table.inl.h"

namespace shoal {
const Kernels* portable_kernels() { return &table; }
}  // namespace shoal
