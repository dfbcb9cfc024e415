// One VM: an interpreter with a GIL of its own in a thread of its own, fed by a job queue of its own.
//
// - Everything below `mutex` is read and written under it. Nobody waits for a GIL while holding it.
// - Lease (rule K2): `killers` grows only while `running`; the thread leaves a run only when it is 0 again, and waits
//   for that with its GIL released. So no foreign thread state exists when the interpreter ends.
// - A run is answered once: by the thread, or by the timekeeper when the thread is left behind.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "account.h"
#include "channel.h"
#include "lent.h"
#include "tensor/run.h"

namespace shoal {

int64_t clock_ns(clockid_t clock);
int64_t now_ns();

struct Spec {
  std::string entry;
  std::unordered_map<std::string, std::string> modules;  // marshalled code
  std::unordered_map<std::string, std::string> resources;
  std::set<std::string> topics;
  int64_t wall_ns = 0;
  int64_t load_ns = 0;
  int64_t cpu_ns = 0;  // processor time of one run; 0: none of its own
  int64_t memory_bytes = 0;
  int64_t engine_bytes = 0;
  size_t output_bytes = 0;
  size_t log_lines = 0;
};

struct Job {
  uint64_t run;
  std::shared_ptr<Lent> event;
};

struct Answer {
  bool good;
  std::string data;  // what was asked for, or why not
};

enum class Reason { none, wall, cpu, memory, engine, cancelled };
enum class Phase { load, run, close };

// What a run wrote; touched by the VM's thread only.
struct Written {
  std::vector<std::pair<std::string, std::string>> emits;
  std::vector<std::string> logs;
  std::string line;  // printed, not yet ended by a newline
  size_t emit_bytes = 0;
  bool past_output = false;
  bool past_logs = false;
};

struct Vm : std::enable_shared_from_this<Vm> {
  Vm(uint64_t id_, std::shared_ptr<Channel> channel_);

  const uint64_t id;
  Spec spec;  // written once, before `assigned`
  const std::shared_ptr<Channel> channel;
  Account account;
  const std::shared_ptr<RunBounds> engine = std::make_shared<RunBounds>();  // its kill mark is never taken back

  std::mutex mutex;
  std::condition_variable changed;
  bool assigned = false;  // it has its task; before that it is a spare, of which nobody hears
  std::deque<Job> jobs;
  bool closing = false;
  bool running = false;
  bool answered = false;
  bool spent = false;
  int killers = 0;
  Phase phase = Phase::load;
  uint64_t run = 0;
  std::optional<uint64_t> cancelled;  // a run that is to be killed as soon as it begins
  int64_t began_ns = 0;
  Reason reason = Reason::none;
  int64_t kill_ns = 0;  // when the kill was asked for
  bool asking = false;  // the guest waits for the host's answer
  std::optional<Answer> answer;

  // A caller that looks out for its answer instead of sleeping: see Vm::call.
  enum Handoff : int { nobody, waits, being_filled, filled };
  std::atomic<int> handoff{nobody};
  Message handed;
  std::atomic<int64_t> looks_out_ns{0};  // how long the thread looks out for the next job after this one; 0: it does not
  std::atomic<int64_t> answered_ns{0};  // when the last run was answered, and how long it took
  std::atomic<int64_t> run_ns{0};

  std::atomic<bool> quarantined{false};  // written under the mutex
  std::atomic<bool> called{false};        // something changed that a spinning thread should look at
  std::atomic<int64_t> deadline_ns{0};  // 0: nothing to watch; read by the timekeeper without the lock

  // Set by the thread before its first run, constant while `running`.
  PyInterpreterState* interpreter = nullptr;
  unsigned long thread_ident = 0;
  int system_id = 0;           // of the thread, where the system has priorities of threads
  clockid_t cpu_clock = 0;     // of the thread; asked only while it runs
  int64_t cpu_until_ns = 0;    // what it may read when the run is to be over; 0: no limit. Under the mutex
  PyObject* killed_type = nullptr;
  PyObject* limit_type = nullptr;
  PyObject* lent_type = nullptr;
  std::list<std::shared_ptr<Lent>> lent;  // what the guest holds; touched by the VM's thread only
  PyObject* invoke = nullptr;  // the glue's bind() until the task is loaded, then what handles one event
  PyObject* teardown = nullptr;
  bool trusted = true;  // the audit hook lets the bootstrap through
  Written written;

  // Gives it its task; false when it is ending already, and another VM is needed.
  bool assign(Spec task);

  bool submit(Job job);

  // Submits, and looks out for the answer for `spin_ns` at most, if this VM's thread looks out too and its last run
  // was shorter than that. What the run came to, or nothing when the channel will tell; `taken` is false when it was refused.
  std::optional<Message> call(Job job, int64_t spin_ns, bool* taken);
  void close();
  void cancel(uint64_t which);
  void give_answer(uint64_t which, Answer given);
};

// The VM that the calling thread is, or nullptr.
Vm* current_vm();

// How the engine is told whom a thread works for; before the first VM.
void set_engine(WorkFor door);

// Starts the VM's thread; false when the system gives none.
bool start(std::shared_ptr<Vm> vm, std::string* why);

constexpr size_t kStackBytes = 64 * 1024 * 1024;  // rule K6
constexpr size_t kLogLineBytes = 4096;
constexpr size_t kMessageBytes = 600;

const char* code_of(Reason reason);

}  // namespace shoal
