// Who computes a kernel: the level of dispatch, the threads, and who may stop it.
#pragma once

#include <atomic>

#include "kernels/kernels.h"
#include "threads/pool.h"

namespace shoal {

// A kernel that is cancelled returns false and leaves its result unfinished.
struct Run {
  const Kernels& kernels;
  Pool* pool = nullptr;                          // null: the caller alone
  const std::atomic<bool>* cancelled = nullptr;  // looked at between pieces of about a tenth of a millisecond
  int threads() const { return pool == nullptr ? 1 : pool->threads(); }
  Run alone() const { return {kernels, nullptr, cancelled}; }
};

}  // namespace shoal
