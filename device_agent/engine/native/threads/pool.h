// A small pool of threads that share the work of one kernel at a time.
//
// Rules: the caller works too, so a pool of n has n - 1 threads of its own. One kernel has the pool at a time; whoever
// finds it taken works alone, which is never slower than to wait. Workers look out for the next piece for a bounded
// time, then sleep. A set cancel flag is seen before each piece: what runs then is finished, no other is begun.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace shoal {

constexpr int pool_threads_max = 64;
constexpr int64_t spin_ns_max = 100'000;  // how long an idle worker looks out before it sleeps

class Pool {
 public:
  // `threads` with the caller, 1 .. pool_threads_max. Workers run on `cores` only, any core when it is empty; the
  // caller's own thread stays where its owner put it. Throws std::invalid_argument and std::system_error.
  explicit Pool(int threads, std::span<const int> cores = {});
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const;

  // Runs piece(context, index, worker) for every index < pieces; worker < threads(), 0 is the caller. Returns false
  // when `cancelled` became true before all were begun. Pieces of one call may run in any order, and none throws.
  using Piece = void (*)(void* context, size_t index, int worker);
  bool run(size_t pieces, Piece piece, void* context, const std::atomic<bool>* cancelled);

  // Nanoseconds of processor time that the workers have used; the caller's own are the caller's to count.
  int64_t workers_cpu_ns() const;

 private:
  struct Shared;
  std::unique_ptr<Shared> shared_;
};

// The same without a pool: the caller alone.
bool run_alone(size_t pieces, Pool::Piece piece, void* context, const std::atomic<bool>* cancelled);

}  // namespace shoal
