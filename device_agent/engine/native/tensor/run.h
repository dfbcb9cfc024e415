// What the engine heeds on behalf of one run: how much its tensors may hold, and whether it is to stop.
//
// Rules: a thread works for at most one run; one that works for none (the agent's own) is neither charged nor stopped. A
// block is charged to the run that asked for it and given back to it whoever frees it, so the bounds live as long as the
// last block. What all VMs share is charged to nobody. A loop that may be long looks at the mark through a KillWatch.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

namespace shoal {

struct RunBounds {
  std::atomic<int64_t> used_bytes{0};
  std::atomic<int64_t> peak_bytes{0};
  std::atomic<int64_t> bytes_max{0};    // 0: nothing is refused
  std::atomic<bool> over{false};        // set once when bytes_max is passed
  std::atomic<bool> cancelled{false};   // the run was killed: what computes for it stops
  void (*on_over)() = nullptr;          // called once, by the thread whose request was refused
  void (*raise_killed)() = nullptr;     // sets the Python error of a killed run
};

// The type of the function behind the capsule that _core gives to the VM's host.
using WorkFor = void (*)(const std::shared_ptr<RunBounds>& bounds);
inline constexpr const char work_for_name[] = "device_agent.engine._core.work_for";

// From now on the calling thread works for this run; null: for none.
void work_for(const std::shared_ptr<RunBounds>& bounds);
const std::shared_ptr<RunBounds>& bounds_here();

// The run's tensors would hold more than they may.
struct BytesExceeded : std::bad_alloc {
  const char* what() const noexcept override { return "the run's tensors need more memory than engine_mib"; }
};
// The run was killed; its result is of no use to anybody.
struct RunCancelled {};

// So many bytes of the run's for as long as it lives.
class Charge {
 public:
  explicit Charge(int64_t bytes);  // BytesExceeded
  ~Charge();
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

 private:
  std::shared_ptr<RunBounds> bounds_;
  int64_t bytes_;
};

constexpr int64_t work_between_looks = int64_t{1} << 17;  // elements: tens to hundreds of microseconds

class KillWatch {
 public:
  KillWatch();
  void spend(int64_t elements) {
    if ((left_ -= elements) <= 0) look();
  }
  void look();  // RunCancelled

 private:
  const std::atomic<bool>* mark_;
  int64_t left_ = work_between_looks;
};

// Calls piece(from, count) over `n` elements, with a look between pieces.
template <typename F>
void in_pieces(int64_t n, KillWatch& watch, const F& piece) {
  for (int64_t at = 0; at < n; at += work_between_looks) {
    const int64_t count = std::min(work_between_looks, n - at);
    piece(at, count);
    watch.spend(count);
  }
}

template <typename F>
void in_pieces(int64_t n, const F& piece) {
  KillWatch watch;
  in_pieces(n, watch, piece);
}

}  // namespace shoal
