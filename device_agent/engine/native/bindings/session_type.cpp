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

struct Call {
  std::vector<Tensor> inputs;
  const Kernels& kernels;
};

Call parsed(const State& state, PyObject* args, PyObject* names) {
  static const char* const keywords[] = {"inputs", "level", nullptr};
  PyObject* inputs = nullptr;
  const char* level = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, names, "O|$z:run", const_cast<char**>(keywords), &inputs, &level))
    throw PythonError{};
  const Owned all(PySequence_Tuple(inputs));
  std::vector<Tensor> given;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i)
    given.push_back(need_tensor(state, PyTuple_GET_ITEM(all.get(), i)));
  return {std::move(given), kernels_from(level)};
}

PyObject* run(PyObject* self, PyObject* args, PyObject* names) {
  const State& state = state_of(self);
  return guarded(state, [&] {
    const Call call = parsed(state, args, names);
    std::vector<Tensor> made;
    {
      const Released released;
      made = session_of(self).run(call.inputs, call.kernels);
    }
    Owned out(PyList_New(static_cast<Py_ssize_t>(made.size())));
    for (size_t i = 0; i < made.size(); ++i)
      PyList_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(wrap(state, std::move(made[i]))).release());
    return out.release();
  });
}

PyObject* profile(PyObject* self, PyObject* args, PyObject* names) {
  const State& state = state_of(self);
  return guarded(state, [&] {
    const Call call = parsed(state, args, names);
    std::vector<int64_t> took;
    {
      const Released released;
      took = session_of(self).profile(call.inputs, call.kernels);
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

PyCFunction with_keywords(PyObject* (*function)(PyObject*, PyObject*, PyObject*)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function));
}

PyMethodDef methods[] = {
    {"run", with_keywords(run), METH_VARARGS | METH_KEYWORDS, "Outputs for a sequence of inputs."},
    {"profile", with_keywords(profile), METH_VARARGS | METH_KEYWORDS, "Nanoseconds of each command of one run."},
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

PyObject* make_session(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    Py_buffer view;
    PyObject* weights = nullptr;
    if (!PyArg_ParseTuple(args, "y*O:session", &view, &weights)) throw PythonError{};
    const Buffer held(&view, PyBuffer_Release);
    const Tensor file = need_tensor(state, weights);
    std::unique_ptr<Session> session;
    {
      const Released released;
      session = std::make_unique<Session>(view.buf, static_cast<size_t>(view.len), file);
    }
    auto* type = reinterpret_cast<PyTypeObject*>(state.session_type);
    Owned object(type->tp_alloc(type, 0));
    new (&reinterpret_cast<SessionObject*>(object.get())->value) std::unique_ptr<Session>(std::move(session));
    return object.release();
  });
}

}  // namespace shoal::binding
