#include "sampler.h"

#include <algorithm>
#include <string_view>

#include "guest.h"

namespace shoal {
namespace {

bool take_lease(Vm& vm) {
  std::lock_guard lock(vm.mutex);
  if (!vm.running || vm.phase == Phase::close || vm.reason != Reason::none || vm.quarantined) return false;
  ++vm.killers;
  return true;
}

void give_back(Vm& vm) {
  std::lock_guard lock(vm.mutex);
  --vm.killers;
  vm.changed.notify_all();
}

std::string describe(PyFrameObject* frame) {
  PyCodeObject* code = PyFrame_GetCode(frame);
  const char* file = PyUnicode_AsUTF8(code->co_filename);
  const char* name = PyUnicode_AsUTF8(code->co_qualname);
  std::string text;
  if (file != nullptr && name != nullptr && std::string_view(file) != kGlueFile) {
    text = std::string(file) + ":" + std::to_string(PyFrame_GetLineNumber(frame)) + " " + name;
  }
  PyErr_Clear();
  Py_DECREF(code);
  return text;
}

// Killers attach too, so the guest's own thread is sought by its name.
PyThreadState* guest_thread(PyInterpreterState* interpreter, PyThreadState* self, unsigned long ident) {
  PyThreadState* state = PyInterpreterState_ThreadHead(interpreter);
  while (state != nullptr && (state == self || state->thread_id != ident)) state = PyThreadState_Next(state);
  return state;
}

void read_stack(Vm& vm, PyThreadState* self, std::vector<std::string>* frames) {
  PyThreadState* guest = guest_thread(vm.interpreter, self, vm.thread_ident);
  PyFrameObject* frame = guest == nullptr ? nullptr : PyThreadState_GetFrame(guest);
  while (frame != nullptr && frames->size() < kSampleFrames) {
    std::string text = describe(frame);
    if (!text.empty()) frames->push_back(std::move(text));
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  Py_XDECREF(frame);
  std::reverse(frames->begin(), frames->end());
}

}  // namespace

bool sample(Vm& vm, std::vector<std::string>* frames) {
  if (!take_lease(vm)) return false;
  charge_thread_to(&vm.account, true);
  PyThreadState* state = PyThreadState_New(vm.interpreter);
  if (state != nullptr) {
    PyEval_AcquireThread(state);
    read_stack(vm, state, frames);
    PyThreadState_Clear(state);
    PyThreadState_DeleteCurrent();
  }
  charge_thread_to(nullptr, false);
  give_back(vm);
  return state != nullptr && !frames->empty();
}

}  // namespace shoal
