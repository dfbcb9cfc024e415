// The _core module. It loads in interpreters that own their GIL: multi-phase init, heap types, state a module.
#include "bindings/binding.h"

namespace shoal::binding {

namespace {

PyObject* new_error(const char* name, const char* doc, const char* code) {
  const Owned members(Py_BuildValue("{s:s}", "code", code));
  return PyErr_NewExceptionWithDoc(name, doc, PyExc_ValueError, members.get());
}

void add(PyObject* module, const char* name, PyObject*& kept, PyObject* made) {
  if (made == nullptr) throw PythonError{};
  kept = made;
  if (PyModule_AddObjectRef(module, name, made) != 0) throw PythonError{};
}

int exec(PyObject* module) {
  State& state = state_of_module(module);
  try {
    add(module, "Tensor", state.tensor_type, PyType_FromModuleAndSpec(module, &tensor_spec, nullptr));
    add(module, "Session", state.session_type, PyType_FromModuleAndSpec(module, &session_spec, nullptr));
    add(module, "ModelInvalid", state.model_invalid,
        new_error("device_agent.engine._core.ModelInvalid", "The model file is damaged or cannot be.",
                  "MODEL_INVALID"));
    add(module, "ModelUnsupported", state.model_unsupported,
        new_error("device_agent.engine._core.ModelUnsupported", "The model was compiled for another engine.",
                  "MODEL_UNSUPPORTED"));
    add(module, "PlanInvalid", state.plan_invalid,
        new_error("device_agent.engine._core.PlanInvalid", "The plan cannot be run.", "MODEL_INVALID"));
    if (PyModule_AddFunctions(module, kernel_functions) != 0) throw PythonError{};
    const Owned door(PyCapsule_New(reinterpret_cast<void*>(&work_for), work_for_name, nullptr));
    if (PyModule_AddObjectRef(module, "work_for", door.get()) != 0) throw PythonError{};
    if (PyModule_AddIntConstant(module, "OP_SET", op_set) != 0) throw PythonError{};
    return 0;
  } catch (const PythonError&) {
    return -1;
  }
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  State& state = state_of_module(module);
  Py_VISIT(state.tensor_type);
  Py_VISIT(state.session_type);
  Py_VISIT(state.model_invalid);
  Py_VISIT(state.model_unsupported);
  Py_VISIT(state.plan_invalid);
  return 0;
}

int clear(PyObject* module) {
  State& state = state_of_module(module);
  Py_CLEAR(state.tensor_type);
  Py_CLEAR(state.session_type);
  Py_CLEAR(state.model_invalid);
  Py_CLEAR(state.model_unsupported);
  Py_CLEAR(state.plan_invalid);
  return 0;
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(exec)},
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, nullptr},
};

}  // namespace

PyModuleDef module_def = {PyModuleDef_HEAD_INIT,
                          "_core",
                          "The engine's tensors, operators and sessions.",
                          sizeof(State),
                          functions,
                          slots,
                          traverse,
                          clear,
                          nullptr};

}  // namespace shoal::binding

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&shoal::binding::module_def); }
