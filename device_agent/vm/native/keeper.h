// The timekeeper (rules K2, K3): one thread that watches every deadline and never attaches to an interpreter.
//
// - An overrun gets a thread of its own, which attaches, makes the guest raise, and ends. When the guest's C call does
//   not come back, that thread waits; no other kill waits for it.
// - A run whose thread does not come back within the grace is answered for, and its VM is quarantined.
#pragma once

#include <cstdint>
#include <memory>

#include "vm.h"

namespace shoal {

struct Counters {
  uint64_t live = 0;
  uint64_t created = 0;
  uint64_t ended = 0;
  uint64_t killed = 0;
  uint64_t quarantined_now = 0;
  uint64_t quarantined = 0;
  int64_t left_bytes = 0;  // in blocks that ended VMs did not free, and in VMs that are quarantined now
};

// Starts the timekeeper; call it once.
void start_timekeeper(int64_t grace_ns);
void poke_timekeeper();

// Called under no lock, when a run has begun whose deadline is `deadline_ns`.
void watch(int64_t deadline_ns);

// Ends the running run for `reason`; the caller holds vm.mutex and has seen vm.running.
void kill_locked(Vm& vm, Reason reason);

// Which memory the VM has used up, if any.
Reason memory_reason(const Vm& vm);

int kill_trace(PyObject*, PyFrameObject*, int what, PyObject*);

bool enlist(const std::shared_ptr<Vm>& vm);  // false when the process drains: what is enlisted, a drain sees
void strike_off(const Vm& vm);  // `vm` has ended, and its memory was reclaimed
Counters counters();

// Refuses new VMs, kills and closes all, and waits until they have ended; how many are still there.
uint64_t drain(int64_t timeout_ns);
bool draining();  // a run that begins under this is killed at once

}  // namespace shoal
