// Width 1: the plain code, for every machine, and the reference of the others.
#define LEVEL Level::portable
#define LANES 1
#define TILE_ROWS 4
#define TILE_VECTORS 4
#include "kernels/table.inl.h"

namespace shoal {
const Kernels* portable_kernels() { return &table; }
}  // namespace shoal
