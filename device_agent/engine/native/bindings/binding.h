// What the bindings share: the module's state, errors that cross the border, and conversions.
//
// Rules: nothing is static that holds a Python object; what is needed hangs on the module's state, found through the
// type or the module. No C++ exception leaves a function that Python calls: each body runs inside `guarded`. Kernels run
// without the GIL, inside a `Released`; whoever holds a Tensor across it holds it before and after too, so that storage
// borrowed from a Python buffer is only ever given back under the GIL.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/model.h"
#include "ops/op.h"
#include "session/session.h"
#include "tensor/tensor.h"

namespace shoal::binding {

struct State {
  PyObject* tensor_type;
  PyObject* session_type;
  PyObject* model_invalid;
  PyObject* model_unsupported;
  PyObject* plan_invalid;
};

struct TensorObject {
  PyObject_HEAD
  Tensor value;
};
struct SessionObject {
  PyObject_HEAD
  std::unique_ptr<Session> value;
};

extern PyModuleDef module_def;
extern PyType_Spec tensor_spec;
extern PyType_Spec session_spec;
extern PyMethodDef functions[];
extern PyMethodDef kernel_functions[];

inline State& state_of_module(PyObject* module) { return *static_cast<State*>(PyModule_GetState(module)); }
// Our types are final, so an object's own type is the one that the module made.
inline State& state_of(PyObject* self) { return *static_cast<State*>(PyType_GetModuleState(Py_TYPE(self))); }
inline const Tensor& tensor_of(PyObject* self) { return reinterpret_cast<TensorObject*>(self)->value; }

// A Python error is set already; unwinds to `guarded`.
struct PythonError {};

// Turns the C++ exception that is being handled into a Python one.
void set_error(const State& state);

template <typename F>
PyObject* guarded(const State& state, F body) {
  try {
    return body();
  } catch (...) {
    set_error(state);
    return nullptr;
  }
}

// The GIL is released while one of these lives.
class Released {
 public:
  Released() : thread_(PyEval_SaveThread()) {}
  ~Released() { PyEval_RestoreThread(thread_); }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* thread_;
};

// An owned reference.
class Owned {
 public:
  explicit Owned(PyObject* object) : object_(object) {
    if (object == nullptr) throw PythonError{};
  }
  ~Owned() { Py_XDECREF(object_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  PyObject* get() const { return object_; }
  PyObject* release() { return std::exchange(object_, nullptr); }

 private:
  PyObject* object_;
};

PyObject* wrap(const State& state, Tensor tensor);
PyObject* tuple_of(const Dims& dims);
PyObject* number_at(Dtype dtype, const std::byte* at);

bool is_tensor(const State& state, PyObject* object);
Tensor need_tensor(const State& state, PyObject* object);
Dims dims_from(PyObject* object);                       // an integer or a sequence of them
Dims shape_from(PyObject* object);                      // the same; one may be -1, none less
Tensor tensor_from(PyObject* data, Dtype dtype);        // a number or nested sequences
Tensor tensor_over(PyObject* buffer, Dtype dtype, PyObject* shape);  // zero copy where alignment allows
Tensor filled(const Dims& shape, PyObject* value, Dtype dtype);
const Kernels& kernels_from(const char* level);         // null: the best here

// Runs one operator without the GIL and wraps what it made.
PyObject* apply_and_wrap(const State& state, const Op& op, const std::vector<Tensor>& inputs, const Kernels& kernels);
// Both operands of a binary operator; a number takes the other's dtype.
std::vector<Tensor> operands(const State& state, PyObject* a, PyObject* b);

PyObject* bound_process(PyObject* module, PyObject* args);
PyObject* engine_bytes(PyObject* module, PyObject*);
PyObject* set_costs(PyObject* module, PyObject* args);
PyObject* costs(PyObject* module, PyObject* args);
PyObject* map_model(PyObject* module, PyObject* args);
PyObject* check_model(PyObject* module, PyObject* args);
PyObject* make_session(PyObject* module, PyObject* args);
PyObject* command_floats(PyObject* module, PyObject* args);

}  // namespace shoal::binding
