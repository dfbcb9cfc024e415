// The Model type: a compiled model that runs.
#include <new>

#include "bindings/binding.h"

namespace shoal::binding {

namespace {

const Model& model_of(PyObject* self) { return *reinterpret_cast<ModelObject*>(self)->value; }

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  using Held = std::shared_ptr<const Model>;
  reinterpret_cast<ModelObject*>(self)->value.~Held();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* describe(const std::vector<Port>& ports) {
  Owned out(PyTuple_New(static_cast<Py_ssize_t>(ports.size())));
  for (size_t i = 0; i < ports.size(); ++i) {
    const Owned shape(tuple_of(ports[i].spec.shape));
    const std::string& name = ports[i].name;
    PyObject* port = Py_BuildValue("(s#sO)", name.data(), static_cast<Py_ssize_t>(name.size()),
                                   name_of(ports[i].spec.dtype), shape.get());
    PyTuple_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(port).release());
  }
  return out.release();
}

PyObject* get_inputs(PyObject* self, void*) {
  return guarded(state_of(self), [&] { return describe(model_of(self).inputs()); });
}
PyObject* get_outputs(PyObject* self, void*) {
  return guarded(state_of(self), [&] { return describe(model_of(self).outputs()); });
}

// Tensors in the model's order, from one Tensor, a mapping by name, or a sequence.
std::vector<Tensor> gather(const State& state, const Model& model, PyObject* inputs) {
  if (is_tensor(state, inputs)) return {tensor_of(inputs)};
  std::vector<Tensor> out;
  if (PyDict_Check(inputs)) {
    for (const Port& port : model.inputs()) {
      const Owned name(PyUnicode_FromStringAndSize(port.name.data(), static_cast<Py_ssize_t>(port.name.size())));
      PyObject* given = PyDict_GetItemWithError(inputs, name.get());
      if (given == nullptr && PyErr_Occurred()) throw PythonError{};
      if (given == nullptr) throw ValueError("input '" + port.name + "' is missing");
      out.push_back(need_tensor(state, given));
    }
    if (PyDict_Size(inputs) != static_cast<Py_ssize_t>(out.size()))
      throw ValueError("more inputs than the model has; its inputs are named by Model.inputs");
    return out;
  }
  const Owned all(PySequence_Tuple(inputs));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i)
    out.push_back(need_tensor(state, PyTuple_GET_ITEM(all.get(), i)));
  return out;
}

PyObject* run(PyObject* self, PyObject* args, PyObject* names) {
  const State& state = state_of(self);
  return guarded(state, [&] {
    static const char* const keywords[] = {"inputs", "level", nullptr};
    PyObject* inputs = nullptr;
    const char* level = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O|$z:run", const_cast<char**>(keywords), &inputs, &level))
      throw PythonError{};
    const std::vector<Tensor> given = gather(state, model_of(self), inputs);
    const Kernels& kernels = kernels_from(level);
    std::vector<Tensor> made;
    {
      const Released released;
      made = model_of(self).run(given, kernels);
    }
    Owned out(PyList_New(static_cast<Py_ssize_t>(made.size())));
    for (size_t i = 0; i < made.size(); ++i)
      PyList_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(wrap(state, std::move(made[i]))).release());
    return out.release();
  });
}

PyGetSetDef getters[] = {
    {"inputs", get_inputs, nullptr, "(name, dtype, shape) of each input; -1 is the batch.", nullptr},
    {"outputs", get_outputs, nullptr, "(name, dtype, shape) of each output; -1 goes with the batch.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyMethodDef methods[] = {
    {"run", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(run)), METH_VARARGS | METH_KEYWORDS,
     "Outputs for inputs: a Tensor, a dict by name, or a sequence."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A compiled model; immutable and shared. Made by load_model() or parse_model().")},
    {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, nullptr},
};

}  // namespace

PyType_Spec model_spec = {"device_agent.engine._core.Model", sizeof(ModelObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

PyObject* load_model(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject* path = nullptr;
    if (!PyArg_ParseTuple(args, "O&:load_model", PyUnicode_FSConverter, &path)) throw PythonError{};
    const Owned held(path);
    std::shared_ptr<const Model> model;
    {
      const Released released;
      model = shoal::load_model(PyBytes_AS_STRING(held.get()));
    }
    return wrap(state, std::move(model));
  });
}

PyObject* parse_model(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    Py_buffer view;
    if (!PyArg_ParseTuple(args, "y*:parse_model", &view)) throw PythonError{};
    const std::unique_ptr<Py_buffer, void (*)(Py_buffer*)> held(&view, PyBuffer_Release);
    std::shared_ptr<const Model> model;
    {
      const Released released;
      model = shoal::parse_model(view.buf, static_cast<size_t>(view.len));
    }
    return wrap(state, std::move(model));
  });
}

}  // namespace shoal::binding
