#include "tensor/run.h"

namespace shoal {

namespace {

thread_local std::shared_ptr<RunBounds> here;

void charge(RunBounds& bounds, int64_t bytes) {
  const int64_t used = bounds.used_bytes.fetch_add(bytes) + bytes;
  const int64_t most = bounds.bytes_max.load(std::memory_order_relaxed);
  if (most != 0 && used > most) {
    bounds.used_bytes.fetch_sub(bytes);
    if (!bounds.over.exchange(true) && bounds.on_over != nullptr) bounds.on_over();
    throw BytesExceeded();
  }
  int64_t peak = bounds.peak_bytes.load(std::memory_order_relaxed);
  while (used > peak && !bounds.peak_bytes.compare_exchange_weak(peak, used)) {
  }
}

}  // namespace

void work_for(const std::shared_ptr<RunBounds>& bounds) { here = bounds; }

const std::shared_ptr<RunBounds>& bounds_here() { return here; }

Charge::Charge(int64_t bytes) : bounds_(here), bytes_(bytes) {
  if (bounds_ != nullptr) charge(*bounds_, bytes);
}

Charge::~Charge() {
  if (bounds_ != nullptr) bounds_->used_bytes.fetch_sub(bytes_);
}

KillWatch::KillWatch() : mark_(here == nullptr ? nullptr : &here->cancelled) {}

void KillWatch::look() {
  left_ = work_between_looks;
  if (mark_ != nullptr && mark_->load(std::memory_order_relaxed)) throw RunCancelled();
}

}  // namespace shoal
