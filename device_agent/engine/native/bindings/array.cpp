// The module's array functions that are no operators of models; tensor/array.h says what they do.
#include "tensor/array.h"

#include "bindings/binding.h"

namespace shoal::binding {
namespace {

template <typename F>
Tensor without_gil(F compute) {
  Released released;
  return compute();
}

PyObject* map(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    const char* what = nullptr;
    PyObject* x = nullptr;
    if (!PyArg_ParseTuple(args, "sO:map", &what, &x)) throw PythonError{};
    const std::string name = what;
    const Tensor input = need_tensor(state, x);
    return wrap(state, without_gil([&] { return mapped(name, input); }));
  });
}

PyObject* compare(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    const char* how = nullptr;
    PyObject *a = nullptr, *b = nullptr;
    if (!PyArg_ParseTuple(args, "sOO:compare", &how, &a, &b)) throw PythonError{};
    const std::string name = how;
    const std::vector<Tensor> inputs = operands(state, a, b);
    return wrap(state, without_gil([&] { return compared(name, inputs[0], inputs[1]); }));
  });
}

PyObject* pow(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject *a = nullptr, *b = nullptr;
    if (!PyArg_ParseTuple(args, "OO:pow", &a, &b)) throw PythonError{};
    const std::vector<Tensor> inputs = operands(state, a, b);
    return wrap(state, without_gil([&] { return power(inputs[0], inputs[1]); }));
  });
}

PyObject* where(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject *condition = nullptr, *a = nullptr, *b = nullptr;
    if (!PyArg_ParseTuple(args, "OOO:where", &condition, &a, &b)) throw PythonError{};
    const Tensor chooses = need_tensor(state, condition);
    const std::vector<Tensor> inputs = operands(state, a, b);
    return wrap(state, without_gil([&] { return chosen(chooses, inputs[0], inputs[1]); }));
  });
}

PyObject* take(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject *x = nullptr, *indices = nullptr;
    long long axis = 0;
    if (!PyArg_ParseTuple(args, "OOL:take", &x, &indices, &axis)) throw PythonError{};
    const Tensor from = need_tensor(state, x), which = need_tensor(state, indices);
    return wrap(state, without_gil([&] { return taken(from, which, axis); }));
  });
}

PyObject* cumulative_sum(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject* x = nullptr;
    long long axis = 0;
    if (!PyArg_ParseTuple(args, "OL:cumulative_sum", &x, &axis)) throw PythonError{};
    const Tensor input = need_tensor(state, x);
    return wrap(state, without_gil([&] { return summed_up(input, axis); }));
  });
}

PyObject* argsort(PyObject* module, PyObject* args) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    PyObject* x = nullptr;
    long long axis = 0;
    int descending = 0;
    if (!PyArg_ParseTuple(args, "OLp:argsort", &x, &axis, &descending)) throw PythonError{};
    const Tensor input = need_tensor(state, x);
    return wrap(state, without_gil([&] { return order_of(input, axis, descending != 0); }));
  });
}

}  // namespace

PyMethodDef array_functions[] = {
    {"map", map, METH_VARARGS, "map(name, x): log, log1p, sin, cos, floor, ceil or round of each element."},
    {"compare", compare, METH_VARARGS, "compare(name, a, b): equal, not_equal, less or less_equal, broadcasting; uint8."},
    {"pow", pow, METH_VARARGS, "pow(a, b), broadcasting."},
    {"where", where, METH_VARARGS, "where(condition, a, b), broadcasting."},
    {"take", take, METH_VARARGS, "take(x, indices, axis)."},
    {"cumulative_sum", cumulative_sum, METH_VARARGS, "cumulative_sum(x, axis)."},
    {"argsort", argsort, METH_VARARGS, "argsort(x, axis, descending): stable."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace shoal::binding
