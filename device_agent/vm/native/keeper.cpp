#include "keeper.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <semaphore>
#include <system_error>
#include <thread>
#include <vector>

namespace shoal {
namespace {

constexpr int64_t kNever = INT64_MAX;
[[maybe_unused]] constexpr int kLowestPriority = 19;
constexpr size_t kKillerStackBytes = 1024 * 1024;

struct Keeper {  // never destroyed: its thread outlives static destructors
  std::mutex mutex;
  std::condition_variable ended;
  std::vector<std::shared_ptr<Vm>> all;
  Counters count;
  std::atomic<bool> draining{false};  // set under the mutex
  std::atomic<int64_t> next_wake_ns{kNever};
  std::atomic<bool> poked{false};
  std::counting_semaphore<> wake{0};
  int64_t grace_ns = 0;
};

Keeper& keeper() {
  static Keeper* one = new Keeper;
  return *one;
}

// Runs on a disposable thread that holds the lease: the guest raises at its next line, call or bytecode check.
void attach_and_kill(Vm& vm) {
  charge_thread_to(&vm.account, true);
  PyThreadState* state = PyThreadState_New(vm.interpreter);
  if (state != nullptr) {
    PyEval_AcquireThread(state);
    PyThreadState_SetAsyncExc(vm.thread_ident, vm.killed_type);
    PyEval_SetTraceAllThreads(kill_trace, nullptr);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
  }
  charge_thread_to(nullptr, false);
  std::lock_guard lock(vm.mutex);
  --vm.killers;
  vm.changed.notify_all();
}

void* killer_main(void* argument) {
  std::unique_ptr<std::shared_ptr<Vm>> vm(static_cast<std::shared_ptr<Vm>*>(argument));
  attach_and_kill(**vm);
  return nullptr;
}

bool start_killer(Vm& vm) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kKillerStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto held = std::make_unique<std::shared_ptr<Vm>>(vm.shared_from_this());
  pthread_t thread;
  int failed = pthread_create(&thread, &attributes, killer_main, held.get());
  pthread_attr_destroy(&attributes);
  if (failed == 0) held.release();
  return failed == 0;
}

void answer_for(Vm& vm) {  // under vm.mutex
  Message message;
  message.vm = vm.id;
  message.happened = vm.phase == Phase::load ? Happened::ready : Happened::done;
  message.run = vm.run;
  message.outcome = code_of(vm.reason);
  message.text = "the run did not end after its kill; its VM is quarantined: the call it is in cannot be interrupted";
  message.wall_us = (now_ns() - vm.began_ns) / 1000;
  message.spent = true;
  vm.answered = true;
  if (vm.phase != Phase::close) vm.channel->post(std::move(message));
}

// What cannot be stopped gets only what nobody else wants.
void give_way(const Vm& vm) {
#ifdef __linux__
  setpriority(PRIO_PROCESS, static_cast<id_t>(vm.system_id), kLowestPriority);
#endif
}

void quarantine(Vm& vm) {  // under vm.mutex
  give_way(vm);
  vm.quarantined = true;
  vm.spent = true;
  answer_for(vm);
  std::lock_guard lock(keeper().mutex);
  ++keeper().count.quarantined;
  ++keeper().count.quarantined_now;
}

// When the run may have used up its processor time at the earliest; under vm.mutex, while it runs.
int64_t cpu_spent_at(const Vm& vm, int64_t now) { return vm.cpu_until_ns == 0 ? kNever : now + vm.cpu_until_ns - clock_ns(vm.cpu_clock); }

// Looks at one VM; when it wants to be looked at again.
int64_t inspect(Vm& vm, int64_t now) {
  int64_t deadline = vm.deadline_ns.load();
  bool over = memory_reason(vm) != Reason::none;
  if (deadline == 0) return kNever;
  if (!over && now < deadline && vm.spec.cpu_ns == 0) return deadline;
  std::lock_guard lock(vm.mutex);
  deadline = vm.deadline_ns.load();
  if (!vm.running || deadline == 0) return kNever;
  if (vm.reason == Reason::none) {
    if (over) {
      kill_locked(vm, memory_reason(vm));
    } else if (now >= deadline) {
      kill_locked(vm, Reason::wall);
    } else if (int64_t spent_at = cpu_spent_at(vm, now); spent_at > now) {
      return std::min(deadline, spent_at);
    } else {
      kill_locked(vm, Reason::cpu);
    }
    return vm.deadline_ns.load();
  }
  if (now < deadline) return deadline;
  vm.deadline_ns.store(0);
  if (!vm.quarantined) quarantine(vm);
  return kNever;
}

int64_t held_bytes(const Vm& vm) { return vm.account.used_bytes.load() + vm.engine->used_bytes.load(); }

std::vector<std::shared_ptr<Vm>> snapshot() {
  std::lock_guard lock(keeper().mutex);
  return keeper().all;
}

void timekeeper_main() {
  Keeper& self = keeper();
  for (;;) {
    int64_t wake = kNever;
    self.poked.store(false);
    self.next_wake_ns.store(kNever);
    int64_t now = now_ns();
    for (const auto& vm : snapshot()) wake = std::min(wake, inspect(*vm, now));
    int64_t expected = kNever;  // a run that began meanwhile may have stored an earlier time
    if (!self.next_wake_ns.compare_exchange_strong(expected, wake)) wake = std::min(wake, expected);
    if (wake == kNever) {
      self.wake.acquire();
    } else {
      auto rest = std::chrono::nanoseconds(std::max<int64_t>(0, wake - now_ns()));
      (void)self.wake.try_acquire_for(rest);
    }
  }
}

}  // namespace

Reason memory_reason(const Vm& vm) {
  if (vm.engine->over.load()) return Reason::engine;
  return vm.account.over.load() ? Reason::memory : Reason::none;
}

int kill_trace(PyObject*, PyFrameObject*, int what, PyObject*) {
  if (what != PyTrace_LINE && what != PyTrace_CALL) return 0;
  Vm* vm = current_vm();
  if (vm == nullptr) return 0;
  PyErr_SetString(vm->killed_type, "the run was killed");
  return -1;
}

void start_timekeeper(int64_t grace_ns) {
  keeper().grace_ns = grace_ns;
  std::thread(timekeeper_main).detach();
}

void poke_timekeeper() {
  if (!keeper().poked.exchange(true)) keeper().wake.release();
}

void watch(int64_t deadline_ns) {
  Keeper& self = keeper();
  int64_t next = self.next_wake_ns.load();
  while (deadline_ns < next) {
    if (self.next_wake_ns.compare_exchange_weak(next, deadline_ns)) {
      poke_timekeeper();
      return;
    }
  }
}

void kill_locked(Vm& vm, Reason reason) {
  if (vm.reason != Reason::none) return;
  vm.reason = reason;
  vm.kill_ns = now_ns();
  vm.engine->cancelled.store(true);
  vm.spent = true;
  vm.deadline_ns.store(vm.kill_ns + keeper().grace_ns);
  ++vm.killers;
  if (!start_killer(vm)) {
    --vm.killers;
    vm.reason = Reason::none;  // no thread to spare: try again at the next tick
  }
  vm.changed.notify_all();  // wakes a guest that sleeps
  {
    std::lock_guard lock(keeper().mutex);
    ++keeper().count.killed;
  }
}

bool enlist(const std::shared_ptr<Vm>& vm) {
  std::lock_guard lock(keeper().mutex);
  if (keeper().draining.load()) return false;
  keeper().all.push_back(vm);
  ++keeper().count.live;
  ++keeper().count.created;
  return true;
}

void strike_off(const Vm& vm) {
  Keeper& self = keeper();
  std::lock_guard lock(self.mutex);
  std::erase_if(self.all, [&](const auto& one) { return one.get() == &vm; });
  --self.count.live;
  ++self.count.ended;
  self.count.left_bytes += std::max<int64_t>(0, held_bytes(vm));
  if (vm.quarantined) --self.count.quarantined_now;
  self.ended.notify_all();
}

Counters counters() {
  std::lock_guard lock(keeper().mutex);
  Counters now = keeper().count;
  for (const auto& vm : keeper().all) {
    if (vm->quarantined) now.left_bytes += held_bytes(*vm);
  }
  return now;
}

bool draining() { return keeper().draining.load(); }

uint64_t drain(int64_t timeout_ns) {
  Keeper& self = keeper();
  {
    std::lock_guard lock(self.mutex);
    self.draining.store(true);
  }
  for (const auto& vm : snapshot()) {
    vm->close();
    std::lock_guard lock(vm->mutex);
    if (vm->running && vm->phase != Phase::close) kill_locked(*vm, Reason::cancelled);
  }
  poke_timekeeper();
  std::unique_lock lock(self.mutex);
  self.ended.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] { return self.count.live == 0; });
  return self.count.live;
}

}  // namespace shoal
