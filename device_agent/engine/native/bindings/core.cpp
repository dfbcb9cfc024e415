// The _core module. It loads in interpreters that own their GIL: multi-phase init, no static PyObject*.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace {
PyModuleDef_Slot slots[] = {{Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, nullptr}};
PyModuleDef module_def = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr};
}  // namespace

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&module_def); }
