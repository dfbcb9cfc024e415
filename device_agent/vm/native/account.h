// Memory of a VM, in two tiers (rule K4).
//
// - The owner of an arena is the VM whose thread asked for it; it is given back to that VM's account whoever frees it.
// - Past the soft limit only requests of 256 KiB and more fail. Small ones draw on the headroom, because CPython does
//   not survive NULL everywhere; meanwhile the timekeeper kills the run.
// - Raw blocks carry no header: their size is what malloc says it is. With PYTHONMALLOC=malloc every object is such a
//   block. CPython's debug allocators and mimalloc hide their blocks' sizes: a process with those can hold no VMs.
// - What a dead VM left in arenas is unmapped, and so are the nodes of its arena map (0.4 MB), which CPython 3.13 forgets
//   to free: blocks of one element whose size is a power of two that it got zeroed. They are mapped by themselves, because
//   nearly all of their pages are never touched: from malloc, which clears what was used before, they took 0.4 MB a VM.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace shoal {

constexpr int64_t kBigRequestBytes = 256 * 1024;
constexpr int64_t kHeadroomBytes = 32 * 1024 * 1024;

struct Account {
  std::atomic<int64_t> used_bytes{0};
  std::atomic<int64_t> peak_bytes{0};
  std::atomic<int64_t> soft_bytes{0};  // 0: nothing is refused (creating, ending)
  std::atomic<bool> over{false};       // set once when the soft limit is passed
};

// Which account the calling thread charges; nullptr in all threads but those of VMs and killers.
void charge_thread_to(Account* account, bool exempt);

// What a VM holds beside its allocators' blocks, or holds no longer.
void charge(Account* account, int64_t bytes);

// Installs the hooks; call it once, before other threads exist. False when it was done already.
bool install_memory_hooks(void (*on_over)());

// Gives back every arena and map node that `account` still owns; only after its interpreter has ended. Every few times
// malloc is asked to return its free pages too, which lie scattered over the heaps of threads that have ended.
void reclaim(Account* account);

int64_t arena_bytes_mapped();

}  // namespace shoal
