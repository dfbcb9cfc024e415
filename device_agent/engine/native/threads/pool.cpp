#include "threads/pool.h"

#include <pthread.h>
#include <sched.h>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

namespace shoal {

namespace {

bool is_set(const std::atomic<bool>* flag) { return flag != nullptr && flag->load(std::memory_order_relaxed); }

void rest_a_little() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Restricts the calling thread; a core that this machine does not have is the caller's mistake.
void stay_on(std::span<const int> cores) {
  if (cores.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) CPU_SET(static_cast<size_t>(core), &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0)
    throw std::system_error(errno, std::generic_category(), "the pool's cores cannot be used");
}

}  // namespace

bool run_alone(size_t pieces, Pool::Piece piece, void* context, const std::atomic<bool>* cancelled) {
  for (size_t i = 0; i < pieces; ++i) {
    if (is_set(cancelled)) return false;
    piece(context, i, 0);
  }
  return true;
}

// A round is one call of run(). `round` counts them and is what workers wait for. A worker joins a round by adding
// itself to `inside` and then looking whether the round is open still; the caller closes it and waits until nobody is
// inside, so that no worker sees the next round's fields with this round's index.
struct Pool::Shared {
  std::atomic<bool> taken{false};
  std::vector<std::thread> workers;
  std::vector<clockid_t> clocks;

  alignas(64) std::atomic<uint32_t> round{0};
  std::atomic<bool> open{false}, ending{false};
  alignas(64) std::atomic<int> inside{0};
  alignas(64) std::atomic<size_t> next{0};
  size_t pieces = 0;
  Piece piece = nullptr;
  void* context = nullptr;
  const std::atomic<bool>* cancelled = nullptr;

  void take_pieces(int worker) {
    while (!is_set(cancelled)) {
      const size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= pieces) return;
      piece(context, index, worker);
    }
  }

  // Looks out for a while, then sleeps, until the round is another than `seen`.
  uint32_t wait_round(uint32_t seen) const {
    const auto begin = std::chrono::steady_clock::now();
    for (int turn = 1;; ++turn) {
      const uint32_t now = round.load(std::memory_order_acquire);
      if (now != seen) return now;
      rest_a_little();
      if (turn % 64 == 0 && std::chrono::steady_clock::now() - begin > std::chrono::nanoseconds(spin_ns_max)) break;
    }
    round.wait(seen, std::memory_order_acquire);
    return round.load(std::memory_order_acquire);
  }

  void work(int worker) {
    for (uint32_t seen = 0; !ending.load(std::memory_order_acquire);) {
      seen = wait_round(seen);
      inside.fetch_add(1, std::memory_order_seq_cst);
      if (open.load(std::memory_order_seq_cst)) take_pieces(worker);
      inside.fetch_sub(1, std::memory_order_release);
    }
  }

  void end() {
    ending.store(true, std::memory_order_release);
    round.fetch_add(1, std::memory_order_release);
    round.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

Pool::Pool(int threads, std::span<const int> cores) : shared_(std::make_unique<Shared>()) {
  if (threads < 1 || threads > pool_threads_max) throw std::invalid_argument("a pool has 1 to 64 threads");
  for (int core : cores)
    if (core < 0 || core >= CPU_SETSIZE) throw std::invalid_argument("a core's number is 0 to 1023");
  const std::vector<int> kept(cores.begin(), cores.end());
  std::atomic<int> started{0}, refused{0};
  try {
    for (int worker = 1; worker < threads; ++worker)
      shared_->workers.emplace_back([this, worker, &kept, &started, &refused] {
        try {
          stay_on(kept);
        } catch (const std::system_error& error) {
          refused.store(error.code().value());
        }
        started.fetch_add(1);
        started.notify_one();
        shared_->work(worker);
      });
  } catch (const std::system_error&) {
    shared_->end();
    throw;
  }
  for (int seen = started.load(); seen < threads - 1; seen = started.load()) started.wait(seen);
  if (refused.load() != 0) {
    shared_->end();
    throw std::system_error(refused.load(), std::generic_category(), "the pool's cores cannot be used");
  }
  for (std::thread& worker : shared_->workers) {
    clockid_t clock{};
    pthread_getcpuclockid(worker.native_handle(), &clock);
    shared_->clocks.push_back(clock);
  }
}

Pool::~Pool() { shared_->end(); }

int Pool::threads() const { return static_cast<int>(shared_->workers.size()) + 1; }

bool Pool::run(size_t pieces, Piece piece, void* context, const std::atomic<bool>* cancelled) {
  Shared& s = *shared_;
  if (pieces < 2 || s.workers.empty()) return run_alone(pieces, piece, context, cancelled);
  if (s.taken.exchange(true, std::memory_order_acquire)) return run_alone(pieces, piece, context, cancelled);
  s.pieces = pieces;
  s.piece = piece;
  s.context = context;
  s.cancelled = cancelled;
  s.next.store(0, std::memory_order_relaxed);
  s.open.store(true, std::memory_order_seq_cst);
  s.round.fetch_add(1, std::memory_order_release);
  s.round.notify_all();
  s.take_pieces(0);
  s.open.store(false, std::memory_order_seq_cst);
  for (int turn = 1; s.inside.load(std::memory_order_seq_cst) != 0; ++turn) {
    rest_a_little();
    if (turn % 1024 == 0) std::this_thread::yield();  // the worker may wait for this very core
  }
  const bool all = s.next.load(std::memory_order_relaxed) >= pieces;
  s.taken.store(false, std::memory_order_release);
  return all;
}

int64_t Pool::workers_cpu_ns() const {
  int64_t total = 0;
  for (clockid_t clock : shared_->clocks) {
    timespec time{};
    if (clock_gettime(clock, &time) == 0) total += int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
  }
  return total;
}

}  // namespace shoal
