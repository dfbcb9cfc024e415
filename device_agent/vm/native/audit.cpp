// What a guest may not do, refused at CPython's own audit events with a message that names the permitted way.
#include <cstring>
#include <string_view>

#include "guest.h"
#include "keeper.h"

namespace shoal {
namespace {

struct Refusal {
  std::string_view prefix;
  const char* instead;
};

// Events that a guest may cause; everything else is refused, so that a new event of CPython is closed by default.
constexpr std::string_view kAllowed[] = {
    "import", "exec", "compile", "marshal.loads", "marshal.load", "object.__getattr__", "object.__setattr__", "object.__delattr__",
    "sys._getframe", "sys._getframemodulename", "builtins.id", "code.__new__", "function.__new__", "array.__new__", "gc.get_objects",
    "gc.get_referrers", "gc.get_referents", "sys.unraisablehook", "sys.excepthook", "time.sleep", "cpython.PyInterpreterState_New",
    "cpython.PyInterpreterState_Clear", "cpython._PySys_ClearAuditHooks",
};

constexpr Refusal kRefusals[] = {
    {"open", "a task opens no files: load models with shoal_task.model.load, hand results on with shoal_task.emit"},
    {"socket.", "a task has no network: hand results on with shoal_task.emit"},
    {"subprocess.", "a task starts no processes"},
    {"os.", "a task does not reach the system: it gets events, and hands results on with shoal_task.emit"},
    {"ctypes.", "a task loads no libraries: compute with shoal_task.tensor"},
    {"signal.", "a task handles no signals"},
    {"_thread.", "a task starts no threads: its limits.concurrency in task.toml runs events side by side"},
};
constexpr const char* kOtherwise = "a task may not do that; shoal_task has what it may";

bool starts_with(const char* event, std::string_view prefix) { return std::strncmp(event, prefix.data(), prefix.size()) == 0; }

bool allowed(const char* event) {
  for (std::string_view one : kAllowed) {
    if (one == event) return true;
  }
  return false;
}

int refuse(const char* event) {
  const char* instead = kOtherwise;
  for (const Refusal& one : kRefusals) {
    if (starts_with(event, one.prefix)) {
      instead = one.instead;
      break;
    }
  }
  PyErr_Format(PyExc_PermissionError, "%s: %s", event, instead);
  return -1;
}

int refuse_fork(const char* event) {
  if (std::strcmp(event, "os.fork") != 0 && std::strcmp(event, "os.forkpty") != 0) return 0;
  if (counters().live == 0) return 0;
  PyErr_SetString(PyExc_RuntimeError, "fork with live VMs aborts the child: use subprocess or multiprocessing's spawn");
  return -1;
}

}  // namespace

int audit(const char* event, PyObject*, void*) {
  Vm* vm = current_vm();
  if (vm == nullptr) return event[0] == 'o' ? refuse_fork(event) : 0;
  if (vm->trusted || allowed(event)) return 0;
  return refuse(event);
}

}  // namespace shoal
