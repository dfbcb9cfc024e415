#include "vm.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <utility>

#include "guest.h"
#include "keeper.h"

namespace shoal {
namespace {

constexpr int64_t kCloseNs = 500'000'000;
constexpr int kTracebackFrames = 3;
constexpr int64_t kMib = 1024 * 1024;
constexpr int64_t kLookOutNs = 40'000;  // at least, when it does
constexpr int64_t kBusyGapNs = 200'000;

thread_local Vm* t_vm __attribute__((tls_model("initial-exec"))) = nullptr;
WorkFor g_work_for = nullptr;

void work_for_vm(const std::shared_ptr<RunBounds>& bounds) {
  if (g_work_for != nullptr) g_work_for(bounds);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Gives the message to a caller that looks out for it; false when nobody does.
bool hand_over(Vm& vm, Message& message) {
  int waiting = Vm::waits;
  if (!vm.handoff.compare_exchange_strong(waiting, Vm::being_filled, std::memory_order_acq_rel)) return false;
  vm.handed = std::move(message);
  vm.handoff.store(Vm::filled, std::memory_order_release);
  return true;
}

// What a phase came to, decided on the VM's thread before it gives up `running`.
struct Verdict {
  std::string outcome;
  std::string text;
};

void begin(Vm& vm, Phase phase, uint64_t run, int64_t wall_ns) {
  int64_t began = now_ns();
  bool limited = phase == Phase::run && vm.spec.cpu_ns > 0;
  {
    std::lock_guard lock(vm.mutex);
    vm.phase = phase;
    vm.run = run;
    vm.began_ns = began;
    vm.running = true;
    vm.answered = false;
    vm.deadline_ns.store(began + wall_ns);
    vm.cpu_until_ns = limited ? clock_ns(vm.cpu_clock) + vm.spec.cpu_ns : 0;
    if (phase != Phase::close && (vm.cancelled == run || draining())) kill_locked(vm, Reason::cancelled);
  }
  watch(began + (limited ? std::min(wall_ns, vm.spec.cpu_ns) : wall_ns));
}

// Gives up `running` and waits out the lease (rule K2). Returns the reason of a kill, if there was one.
Reason leave(Vm& vm) {
  std::unique_lock lock(vm.mutex);
  vm.running = false;
  vm.deadline_ns.store(0);
  vm.cpu_until_ns = 0;
  if (vm.killers > 0) {
    lock.unlock();
    PyThreadState* state = PyEval_SaveThread();
    lock.lock();
    vm.changed.wait(lock, [&] { return vm.killers == 0; });
    lock.unlock();
    PyEval_RestoreThread(state);
    lock.lock();
  }
  Reason reason = vm.reason;
  vm.reason = Reason::none;
  if (reason == Reason::none) {
    reason = memory_reason(vm);  // it ended before the timekeeper looked
    vm.spent = vm.spent || reason != Reason::none;
  }
  return reason;
}

void append_frames(std::string& text, PyObject* traceback) {
  std::vector<std::string> frames;
  for (PyObject* at = traceback; at != nullptr && PyTraceBack_Check(at);) {
    auto* entry = reinterpret_cast<PyTracebackObject*>(at);
    PyCodeObject* code = PyFrame_GetCode(entry->tb_frame);
    const char* file = PyUnicode_AsUTF8(code->co_filename);
    const char* name = PyUnicode_AsUTF8(code->co_qualname);
    int line = PyFrame_GetLineNumber(entry->tb_frame);
    PyObject* number = PyObject_GetAttrString(at, "tb_lineno");
    if (number != nullptr) line = static_cast<int>(PyLong_AsLong(number));
    Py_XDECREF(number);
    if (file != nullptr && name != nullptr && std::strcmp(file, kGlueFile) != 0) {
      frames.push_back(std::string(file) + ":" + std::to_string(line) + " in " + name);
    }
    PyErr_Clear();
    Py_DECREF(code);
    at = reinterpret_cast<PyObject*>(entry->tb_next);
  }
  size_t first = frames.size() > kTracebackFrames ? frames.size() - kTracebackFrames : 0;
  for (size_t i = first; i < frames.size(); ++i) text += (i == first ? " (" : ", ") + frames[i];
  if (!frames.empty()) text += ")";
}

std::string describe(PyObject* exception) {
  std::string text = Py_TYPE(exception)->tp_name;
  PyObject* said = PyObject_Str(exception);
  const char* utf8 = said == nullptr ? nullptr : PyUnicode_AsUTF8(said);
  if (utf8 != nullptr && *utf8 != '\0') text += std::string(": ") + utf8;
  PyErr_Clear();
  Py_XDECREF(said);
  if (text.size() > kMessageBytes / 2) text = cut_utf8(std::move(text), kMessageBytes / 2);
  PyObject* traceback = PyException_GetTraceback(exception);
  append_frames(text, traceback);
  Py_XDECREF(traceback);
  return cut_utf8(std::move(text), kMessageBytes);
}

// Reads what a call came to and drops it, exception and all, while the run can still be killed.
Verdict judge(Vm& vm, PyObject* result, const char* on_error) {
  Verdict verdict{"ok", ""};
  if (result == nullptr) {
    PyObject* exception = PyErr_GetRaisedException();
    bool memory = exception != nullptr && PyErr_GivenExceptionMatches(exception, PyExc_MemoryError);
    verdict.outcome = memory ? "MEMORY_LIMIT" : on_error;
    if (memory) vm.spent = true;
    if (exception != nullptr) verdict.text = describe(exception);
    Py_XDECREF(exception);
  }
  Py_XDECREF(result);
  PyErr_Clear();
  if (vm.written.past_output) verdict = {"OUTPUT_LIMIT", "the run emitted more than " + std::to_string(vm.spec.output_bytes) + " bytes; emit less or raise output_bytes"};
  if (vm.written.past_logs) verdict = {"LOG_LIMIT", "the run wrote more than " + std::to_string(vm.spec.log_lines) + " lines; log less or raise log_lines"};
  return verdict;
}

std::string killed_text(const Vm& vm, Reason reason) {
  if (reason == Reason::wall) return "the run took longer than " + std::to_string((vm.phase == Phase::load ? vm.spec.load_ns : vm.spec.wall_ns) / 1'000'000) + " ms and was killed";
  if (reason == Reason::cpu) return "the run took more than " + std::to_string(vm.spec.cpu_ns / 1'000'000) + " ms of processor time and was killed";
  if (reason == Reason::memory) return "the VM needed more than " + std::to_string(vm.spec.memory_bytes / kMib) + " MiB and was killed";
  if (reason == Reason::engine) return "the run's tensors needed more than " + std::to_string(vm.spec.engine_bytes / kMib) + " MiB; use smaller ones or raise engine_mib";
  return "the run was cancelled";
}

void answer(Vm& vm, Happened happened, Verdict verdict, Reason reason) {
  Message message;
  if (reason != Reason::none) verdict = {code_of(reason), killed_text(vm, reason)};
  message.vm = vm.id;
  message.happened = happened;
  message.run = vm.run;
  message.outcome = std::move(verdict.outcome);
  message.text = std::move(verdict.text);
  message.logs = std::move(vm.written.logs);
  if (message.outcome == "ok") message.emits = std::move(vm.written.emits);
  int64_t ended = now_ns();
  message.wall_us = (ended - vm.began_ns) / 1000;
  vm.written = Written{};
  vm.run_ns.store(ended - vm.began_ns, std::memory_order_relaxed);
  vm.answered_ns.store(ended, std::memory_order_relaxed);
  {
    std::lock_guard lock(vm.mutex);
    message.spent = vm.spent;
    if (std::exchange(vm.answered, true)) return;
  }
  // Without the lock: the receiver may send the next run at once.
  if (!hand_over(vm, message)) vm.channel->post(std::move(message));
}

void run_phase(Vm& vm, Phase phase, uint64_t run, int64_t wall_ns, PyObject* (*act)(Vm&, std::shared_ptr<Lent>), std::shared_ptr<Lent> event = nullptr) {
  begin(vm, phase, run, wall_ns);
  PyObject* result = act(vm, std::move(event));
  Verdict verdict = judge(vm, result, phase == Phase::load ? "TASK_INVALID" : "TASK_ERROR");
  end_line(vm);
  Reason reason = leave(vm);
  if (phase == Phase::load && verdict.outcome != "ok") vm.spent = true;
  if (phase != Phase::close) answer(vm, phase == Phase::load ? Happened::ready : Happened::done, std::move(verdict), reason);
}

PyObject* act_run(Vm& vm, std::shared_ptr<Lent> event) {
  PyObject* data = view_of(vm, std::move(event));
  if (data == nullptr) return nullptr;
  PyObject* result = PyObject_CallOneArg(vm.invoke, data);
  Py_DECREF(data);
  return result;
}

PyObject* act_load(Vm& vm, std::shared_ptr<Lent>) {
  PyObject* bound = PyObject_CallFunction(vm.invoke, "s", vm.spec.entry.c_str());
  if (bound == nullptr) return nullptr;
  Py_SETREF(vm.invoke, bound);
  Py_RETURN_NONE;
}

PyObject* act_close(Vm& vm, std::shared_ptr<Lent>) {
  Py_CLEAR(vm.invoke);
  return PyObject_CallNoArgs(vm.teardown);
}

// From here on every Python line raises, so that a finaliser which is left cannot hold up the end.
void forbid_python(Vm& vm) {
  vm.trusted = true;  // setting a trace function is an audit event
  PyEval_SetTrace(kill_trace, nullptr);
  vm.trusted = false;
}

// Waking a thread costs more than a short run. While calls follow each other closely the thread looks out for the next
// for a moment before it sleeps; a VM that is called now and then never does. It looks out for twice as long as the last
// call was in coming: one that both sides slept through comes late, and the next must not be slept through for that.
void look_out(Vm& vm) {
  int64_t until = now_ns() + vm.looks_out_ns.load(std::memory_order_relaxed);
  while (!vm.called.load(std::memory_order_acquire) && now_ns() < until) pause();
}

bool next_job(Vm& vm, Job* job) {
  look_out(vm);
  std::unique_lock lock(vm.mutex);
  vm.changed.wait(lock, [&] { return vm.closing || vm.spent || !vm.jobs.empty(); });
  if (vm.spent || vm.jobs.empty()) return false;
  *job = std::move(vm.jobs.front());
  vm.jobs.pop_front();
  // What called for this job must not end the next look-out at once.
  if (vm.jobs.empty() && !vm.closing) vm.called.store(false);
  return true;
}

void serve(Vm& vm) {
  run_phase(vm, Phase::load, 0, vm.spec.load_ns, act_load);
  Job job;
  for (int64_t idle = now_ns(); next_job(vm, &job); idle = now_ns()) {
    int64_t gap = now_ns() - idle;
    vm.looks_out_ns.store(gap < kBusyGapNs ? std::clamp(2 * gap, kLookOutNs, kBusyGapNs) : 0, std::memory_order_relaxed);
    run_phase(vm, Phase::run, job.run, vm.spec.wall_ns, act_run, std::move(job.event));
  }
}

void answer_unbegun(Vm& vm, uint64_t run) {
  Message message;
  message.vm = vm.id;
  message.run = run;
  message.outcome = code_of(Reason::cancelled);
  message.text = "the run was ended before it began";
  message.spent = true;
  vm.channel->post(std::move(message));
}

// What was queued behind a killed run never began: its sender hears so.
void answer_rest(Vm& vm) {
  std::deque<Job> rest;
  {
    std::lock_guard lock(vm.mutex);
    vm.closing = true;
    rest.swap(vm.jobs);
  }
  for (const Job& job : rest) answer_unbegun(vm, job.run);
}

// Ends the interpreter: the guest's own finalisers run while they can still be killed, then no Python line runs any more.
void end_interpreter(Vm& vm, PyThreadState* state) {
  run_phase(vm, Phase::close, 0, kCloseNs, act_close);
  vm.account.soft_bytes.store(0);
  PyThreadState_SetAsyncExc(vm.thread_ident, nullptr);
  forbid_python(vm);
  Py_CLEAR(vm.teardown);
  Py_CLEAR(vm.lent_type);
  PyErr_Clear();
  Py_EndInterpreter(state);
}

bool wait_for_task(Vm& vm) {
  std::unique_lock lock(vm.mutex);
  vm.changed.wait(lock, [&] { return vm.assigned || vm.closing; });
  return vm.assigned;
}

// A VM that ends takes no task any more; whether it has one.
bool give_up(Vm& vm) {
  std::lock_guard lock(vm.mutex);
  vm.closing = true;
  return vm.assigned;
}

void post_failure(Vm& vm, const std::string& why) {
  if (!give_up(vm)) return;
  Message message;
  message.vm = vm.id;
  message.happened = Happened::ready;
  message.outcome = "VM_CREATE_FAILED";
  message.text = why;
  message.spent = true;
  vm.channel->post(std::move(message));
}

PyThreadState* make_interpreter(std::string* why) {
  PyInterpreterConfig config{};
  config.gil = PyInterpreterConfig_OWN_GIL;
  config.check_multi_interp_extensions = 1;
  PyThreadState* state = nullptr;
  PyStatus status = Py_NewInterpreterFromConfig(&state, &config);
  if (PyStatus_Exception(status) || state == nullptr) *why = status.err_msg != nullptr ? status.err_msg : "no interpreter";
  return state;
}

void live(Vm& vm) {
  std::string why;
  PyThreadState* state = make_interpreter(&why);
  if (state == nullptr) {
    post_failure(vm, why);
    return;
  }
  vm.interpreter = PyThreadState_GetInterpreter(state);
  vm.thread_ident = PyThread_get_thread_ident();
  pthread_getcpuclockid(pthread_self(), &vm.cpu_clock);
#ifdef __linux__
  vm.system_id = gettid();
#endif
  if (boot_guest(vm, &why)) {
    vm.trusted = false;
    if (wait_for_task(vm)) {
      vm.account.soft_bytes.store(vm.spec.memory_bytes);
      vm.engine->bytes_max.store(vm.spec.engine_bytes);
      serve(vm);
      answer_rest(vm);
    }
    end_interpreter(vm, state);
  } else {
    post_failure(vm, why);
    Py_EndInterpreter(state);
  }
}

void raise_killed() { PyErr_SetString(current_vm()->killed_type, "the run was killed"); }

void* thread_main(void* argument) {
  std::unique_ptr<std::shared_ptr<Vm>> held(static_cast<std::shared_ptr<Vm>*>(argument));
  std::shared_ptr<Vm> vm = *held;
  t_vm = vm.get();
  charge_thread_to(&vm->account, false);
  vm->engine->on_over = poke_timekeeper;
  vm->engine->raise_killed = raise_killed;
  work_for_vm(vm->engine);
  live(*vm);
  work_for_vm(nullptr);
  charge_thread_to(nullptr, false);
  vm->lent.clear();
  t_vm = nullptr;
  reclaim(&vm->account);
  Message message;
  message.vm = vm->id;
  message.happened = Happened::ended;
  message.outcome = "ok";
  message.spent = true;
  strike_off(*vm);
  if (give_up(*vm)) vm->channel->post(std::move(message));
  return nullptr;
}

}  // namespace

int64_t clock_ns(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

Vm::Vm(uint64_t id_, std::shared_ptr<Channel> channel_) : id(id_), channel(std::move(channel_)) {}

bool Vm::assign(Spec task) {
  std::lock_guard lock(mutex);
  if (closing || spent) return false;
  spec = std::move(task);
  assigned = true;
  changed.notify_all();
  return true;
}

bool Vm::submit(Job job) {
  {
    std::lock_guard lock(mutex);
    if (closing || spent) return false;
    jobs.push_back(std::move(job));
  }
  // Without the lock: a thread that looks out comes for it at once, and would have to sleep on it.
  called.store(true, std::memory_order_release);
  changed.notify_all();
  return true;
}

std::optional<Message> Vm::call(Job job, int64_t spin_ns, bool* taken) {
  int64_t began = now_ns();
  bool awake = began - answered_ns.load(std::memory_order_relaxed) < looks_out_ns.load(std::memory_order_relaxed) &&
               run_ns.load(std::memory_order_relaxed) < spin_ns;
  if (awake) handoff.store(waits, std::memory_order_relaxed);
  *taken = submit(std::move(job));
  if (!awake) return std::nullopt;
  int64_t until = began + spin_ns;
  while (*taken && handoff.load(std::memory_order_acquire) != filled && now_ns() < until) pause();
  int still = waits;
  if (handoff.compare_exchange_strong(still, nobody, std::memory_order_acq_rel)) return std::nullopt;
  while (handoff.load(std::memory_order_acquire) != filled) pause();  // a move away
  Message message = std::move(handed);
  handoff.store(nobody, std::memory_order_relaxed);
  return message;
}

void Vm::close() {
  std::lock_guard lock(mutex);
  closing = true;
  called.store(true, std::memory_order_release);
  changed.notify_all();
}

void Vm::cancel(uint64_t which) {
  std::lock_guard lock(mutex);
  if (running && run == which && phase != Phase::close) {
    kill_locked(*this, Reason::cancelled);
    poke_timekeeper();
  } else if (std::erase_if(jobs, [&](const Job& job) { return job.run == which; }) > 0) {
    answer_unbegun(*this, which);
  } else {
    cancelled = which;
  }
}

void Vm::give_answer(uint64_t which, Answer given) {
  std::lock_guard lock(mutex);
  if (!running || run != which || !asking) return;  // it was killed meanwhile
  answer = std::move(given);
  changed.notify_all();
}

void set_engine(WorkFor door) { g_work_for = door; }

Vm* current_vm() { return t_vm; }

bool start(std::shared_ptr<Vm> vm, std::string* why) {
  if (!enlist(vm)) {
    *why = "the process is draining";
    return false;
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto held = std::make_unique<std::shared_ptr<Vm>>(vm);
  pthread_t thread;
  int failed = pthread_create(&thread, &attributes, thread_main, held.get());
  pthread_attr_destroy(&attributes);
  if (failed != 0) {
    strike_off(*vm);
    *why = std::string("no thread: ") + std::strerror(failed);
    return false;
  }
  held.release();
  return true;
}

const char* code_of(Reason reason) {
  switch (reason) {
    case Reason::wall: return "WALL_LIMIT";
    case Reason::cpu: return "CPU_LIMIT";
    case Reason::memory: return "MEMORY_LIMIT";
    case Reason::engine: return "ENGINE_MEMORY_LIMIT";
    case Reason::cancelled: return "RUN_CANCELLED";
    case Reason::none: break;
  }
  return "ok";
}

}  // namespace shoal
