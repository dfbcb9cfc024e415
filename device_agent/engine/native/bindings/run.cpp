// What a process that runs one task sets for its engine; a VM's host does the same through the capsule.
#include <unistd.h>

#include "bindings/binding.h"

namespace shoal::binding {

namespace {

int status_when_over = 0;  // of the process: it is its own VM, and ends as a whole

void leave() { _exit(status_when_over); }

}  // namespace

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
