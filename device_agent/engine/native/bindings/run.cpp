// What a process sets for its engine. Bounds: a process that runs one task; a VM's host does the same through the capsule.
// Costs: any host, for all interpreters, but no task.
#include <unistd.h>

#include <array>
#include <cmath>
#include <map>
#include <mutex>

#include "bindings/binding.h"

namespace shoal::binding {

namespace {

int status_when_over = 0;  // of the process: it is its own VM, and ends as a whole

void leave() { _exit(status_when_over); }

using CostsOfLevel = std::array<double, 4>;  // operations, near bytes and far bytes a second; seconds a call

struct CostsTable {
  std::mutex mutex;
  std::map<const Kernels*, CostsOfLevel> levels;
};

// Never destroyed: interpreters may end after static destructors have begun.
CostsTable& costs_table() {
  static CostsTable* const only = new CostsTable;
  return *only;
}

}  // namespace

PyObject* set_costs(PyObject* module, PyObject* args) {
  return guarded(state_of_module(module), [&] {
    const char* level = nullptr;
    CostsOfLevel costs{};
    if (!PyArg_ParseTuple(args, "sdddd:set_costs", &level, &costs[0], &costs[1], &costs[2], &costs[3])) throw PythonError{};
    if (bounds_here() != nullptr) throw ValueError("costs are the whole process's: a task does not set them");
    for (size_t i = 0; i < costs.size(); ++i)
      if (!std::isfinite(costs[i]) || costs[i] < 0 || (i < 3 && costs[i] == 0)) throw ValueError("a cost is impossible");
    CostsTable& table = costs_table();
    const std::lock_guard lock(table.mutex);
    table.levels[&kernels_from(level)] = costs;
    return Py_NewRef(Py_None);
  });
}

PyObject* costs(PyObject* module, PyObject* args) {
  return guarded(state_of_module(module), [&] {
    const char* level = nullptr;
    if (!PyArg_ParseTuple(args, "s:costs", &level)) throw PythonError{};
    CostsTable& table = costs_table();
    const std::lock_guard lock(table.mutex);
    const auto found = table.levels.find(&kernels_from(level));
    if (found == table.levels.end()) return Py_NewRef(Py_None);
    const CostsOfLevel& c = found->second;
    return Py_BuildValue("(dddd)", c[0], c[1], c[2], c[3]);
  });
}

PyObject* bound_process(PyObject* module, PyObject* args) {
  return guarded(state_of_module(module), [&] {
    long long bytes = 0;
    int status = 0;
    if (!PyArg_ParseTuple(args, "Li:bound_process", &bytes, &status)) throw PythonError{};
    if (bytes < 1) throw ValueError("a process's tensors may hold at least one byte");
    if (bounds_here() != nullptr) throw ValueError("this thread's tensors have their bounds already");
    auto bounds = std::make_shared<RunBounds>();
    bounds->bytes_max = bytes;
    bounds->on_over = leave;
    status_when_over = status;
    work_for(bounds);
    return Py_NewRef(Py_None);
  });
}

PyObject* engine_bytes(PyObject* module, PyObject*) {
  return guarded(state_of_module(module), [] {
    const auto& bounds = bounds_here();
    const long long now = bounds == nullptr ? 0 : bounds->used_bytes.load();
    const long long most = bounds == nullptr ? 0 : bounds->peak_bytes.load();
    return Py_BuildValue("(LL)", now, most);
  });
}

}  // namespace shoal::binding
