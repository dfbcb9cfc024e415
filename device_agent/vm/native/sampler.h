// Where a run is just now: its stack, read from outside. For tools that show authors where time went.
//
// - It attaches as a killer does (rule K2): only while the VM runs, holding its lease, so the VM waits for it to end.
// - It gets the guest's GIL when the guest lets go of it: at a kernel or a wait, else at the next switch interval.
#pragma once

#include <string>
#include <vector>

#include "vm.h"

namespace shoal {

constexpr size_t kSampleFrames = 64;  // the innermost ones; deeper stacks are cut

// Fills `frames`, outermost first, as "file:line function"; false when the VM runs nothing. The caller holds no GIL.
bool sample(Vm& vm, std::vector<std::string>* frames);

}  // namespace shoal
