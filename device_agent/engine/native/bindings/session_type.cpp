// The Session type: a plan that runs; and the bytes of model files.
#include <new>

#include "bindings/binding.h"
#include "model/model.h"

namespace shoal::binding {

namespace {

Session& session_of(PyObject* self) { return *reinterpret_cast<SessionObject*>(self)->value; }

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  using Held = std::unique_ptr<Session>;
  reinterpret_cast<SessionObject*>(self)->value.~Held();
  type->tp_free(self);
  Py_DECREF(type);
}

std::vector<Tensor> parsed(const State& state, PyObject* args) {
  PyObject* inputs = nullptr;
  if (!PyArg_ParseTuple(args, "O:run", &inputs)) throw PythonError{};
  const Owned all(PySequence_Tuple(inputs));
  std::vector<Tensor> given;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i)
    given.push_back(need_tensor(state, PyTuple_GET_ITEM(all.get(), i)));
  return given;
}

PyObject* run(PyObject* self, PyObject* args) {
  const State& state = state_of(self);
  return guarded(state, [&] {
    const std::vector<Tensor> given = parsed(state, args);
    std::vector<Tensor> made;
    {
      const Released released;
      made = session_of(self).run(given);
    }
    Owned out(PyList_New(static_cast<Py_ssize_t>(made.size())));
    for (size_t i = 0; i < made.size(); ++i)
      PyList_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(wrap(state, std::move(made[i]))).release());
    return out.release();
  });
}

PyObject* profile(PyObject* self, PyObject* args) {
  const State& state = state_of(self);
  return guarded(state, [&] {
    const std::vector<Tensor> given = parsed(state, args);
    std::vector<int64_t> took;
    {
      const Released released;
      took = session_of(self).profile(given);
    }
    Owned out(PyList_New(static_cast<Py_ssize_t>(took.size())));
    for (size_t i = 0; i < took.size(); ++i)
      PyList_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(PyLong_FromLongLong(took[i])).release());
    return out.release();
  });
}

PyObject* get_arena_bytes(PyObject* self, void*) { return PyLong_FromLongLong(session_of(self).arena_bytes()); }
PyObject* get_commands(PyObject* self, void*) { return PyLong_FromSize_t(session_of(self).commands()); }

PyGetSetDef getters[] = {
    {"arena_bytes", get_arena_bytes, nullptr, "Bytes of the memory that a run works in.", nullptr},
    {"commands", get_commands, nullptr, "Commands of one run.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Outputs for a sequence of inputs."},
    {"profile", profile, METH_VARARGS, "Nanoseconds of each command of one run."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A plan that runs over memory of its own. Made by session().")},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, nullptr},
};

}  // namespace

PyType_Spec session_spec = {"device_agent.engine._core.Session", sizeof(SessionObject), 0,
                            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

PyObject* map_model(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject* path = nullptr;
    if (!PyArg_ParseTuple(args, "O&:map_model", PyUnicode_FSConverter, &path)) throw PythonError{};
    const Owned held(path);
    Tensor bytes;
    {
      const Released released;
      bytes = shoal::map_model(PyBytes_AS_STRING(held.get()));
    }
    return wrap(state, std::move(bytes));
  });
}

namespace {

using Buffer = std::unique_ptr<Py_buffer, void (*)(Py_buffer*)>;

}  // namespace

PyObject* check_model(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "y*:check_model", &view)) throw PythonError{};
    const Buffer held(&view, PyBuffer_Release);
    Tensor bytes;
    {
      const Released released;
      bytes = shoal::check_model(view.buf, static_cast<size_t>(view.len));
    }
    return wrap(state, std::move(bytes));
  });
}

PyObject* command_floats(PyObject* module, PyObject* args) {
  return guarded(state_of_module(module), [&] {
    long long id = 0;
    PyObject* words = nullptr;
    int threads = 1;
    const char* level = nullptr;
    if (!PyArg_ParseTuple(args, "LO|iz:command_floats", &id, &words, &threads, &level)) throw PythonError{};
    const Owned all(PySequence_Tuple(words));
    std::vector<int64_t> given;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i) {
      given.push_back(PyLong_AsLongLong(PyTuple_GET_ITEM(all.get(), i)));
      if (PyErr_Occurred()) throw PythonError{};
    }
    const auto [packed, workspace] = kernel_floats(id, given, kernels_from(level), threads);
    return Py_BuildValue("(LL)", static_cast<long long>(packed), static_cast<long long>(workspace));
  });
}

PyObject* make_session(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    Py_buffer view;
    PyObject* weights = nullptr;
    int threads = 1;
    const char* level = nullptr;
    if (!PyArg_ParseTuple(args, "y*O|iz:session", &view, &weights, &threads, &level)) throw PythonError{};
    const Buffer held(&view, PyBuffer_Release);
    if (threads < 1 || threads > pool_threads_max) throw ValueError("threads are 1 to 64");
    const Kernels& kernels = kernels_from(level);
    const Tensor file = need_tensor(state, weights);
    std::unique_ptr<Session> session;
    {
      const Released released;
      session = std::make_unique<Session>(view.buf, static_cast<size_t>(view.len), file, kernels, threads);
    }
    auto* type = reinterpret_cast<PyTypeObject*>(state.session_type);
    Owned object(type->tp_alloc(type, 0));
    new (&reinterpret_cast<SessionObject*>(object.get())->value) std::unique_ptr<Session>(std::move(session));
    return object.release();
  });
}

}  // namespace shoal::binding
