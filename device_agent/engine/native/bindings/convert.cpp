// Python objects to tensors, shapes and errors, and back.
#include <cstring>
#include <system_error>
#include <type_traits>

#include "bindings/binding.h"
#include "tensor/half.h"

namespace shoal::binding {

namespace {

void set_killed() {
  const auto& bounds = bounds_here();
  if (bounds != nullptr && bounds->raise_killed != nullptr) return bounds->raise_killed();
  PyErr_SetString(PyExc_RuntimeError, "the run was killed");
}

}  // namespace

void set_error(const State& state) {
  try {
    throw;
  } catch (const PythonError&) {
  } catch (const RunCancelled&) {
    set_killed();
  } catch (const BytesExceeded& error) {
    PyErr_SetString(PyExc_MemoryError, error.what());
  } catch (const ModelInvalid& error) {
    PyErr_SetString(state.model_invalid, error.what());
  } catch (const ModelUnsupported& error) {
    PyErr_SetString(state.model_unsupported, error.what());
  } catch (const PlanInvalid& error) {
    PyErr_SetString(state.plan_invalid, error.what());
  } catch (const ValueError& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const DtypeError& error) {
    PyErr_SetString(PyExc_TypeError, error.what());
  } catch (const std::system_error& error) {
    PyObject* arguments = Py_BuildValue("(is)", error.code().value(), error.what());
    if (arguments != nullptr) PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "no memory for a tensor; use smaller ones, or a task with a larger limit");
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

PyObject* wrap(const State& state, Tensor tensor) {
  auto* type = reinterpret_cast<PyTypeObject*>(state.tensor_type);
  Owned object(type->tp_alloc(type, 0));
  new (&reinterpret_cast<TensorObject*>(object.get())->value) Tensor(std::move(tensor));
  return object.release();
}

PyObject* tuple_of(const Dims& dims) {
  Owned out(PyTuple_New(dims.rank()));
  for (int i = 0; i < dims.rank(); ++i) PyTuple_SET_ITEM(out.get(), i, Owned(PyLong_FromLongLong(dims[i])).release());
  return out.release();
}

PyObject* number_at(Dtype dtype, const std::byte* at) {
  if (dtype == Dtype::boolean) return PyBool_FromLong(*at != std::byte{0});
  if (is_half(dtype)) {
    uint16_t bits;
    std::memcpy(&bits, at, sizeof(bits));
    return PyFloat_FromDouble(dtype == Dtype::float16 ? from_float16(bits) : from_bfloat16(bits));
  }
  return with_type(dtype, [at](auto* typed) -> PyObject* {
    using T = std::remove_pointer_t<decltype(typed)>;
    T x;
    std::memcpy(&x, at, sizeof(T));
    if constexpr (std::is_floating_point_v<T>) return PyFloat_FromDouble(static_cast<double>(x));
    else if constexpr (std::is_same_v<T, uint64_t>) return PyLong_FromUnsignedLongLong(x);
    else return PyLong_FromLongLong(x);
  });
}

bool is_tensor(const State& state, PyObject* object) {
  return Py_TYPE(object) == reinterpret_cast<PyTypeObject*>(state.tensor_type);
}

Tensor need_tensor(const State& state, PyObject* object) {
  if (!is_tensor(state, object))
    throw DtypeError(std::string("a Tensor is needed, not ") + Py_TYPE(object)->tp_name + "; make one with tensor()");
  return tensor_of(object);
}

namespace {

int64_t integer_from(PyObject* object) {
  const Owned index(PyNumber_Index(object));
  const long long value = PyLong_AsLongLong(index.get());
  if (value == -1 && PyErr_Occurred()) throw PythonError{};
  return value;
}

// Stores one number, refusing what the dtype cannot hold.
void store(PyObject* object, Dtype dtype, std::byte* at) {
  if (dtype == Dtype::boolean) {
    const int truth = PyObject_IsTrue(object);
    if (truth < 0) throw PythonError{};
    *at = std::byte{static_cast<unsigned char>(truth)};
    return;
  }
  if (is_half(dtype)) {
    const double value = PyFloat_AsDouble(object);
    if (value == -1.0 && PyErr_Occurred()) throw PythonError{};
    const uint16_t bits = dtype == Dtype::float16 ? to_float16(static_cast<float>(value)) : to_bfloat16(static_cast<float>(value));
    std::memcpy(at, &bits, sizeof(bits));
    return;
  }
  with_type(dtype, [&](auto* typed) {
    using T = std::remove_pointer_t<decltype(typed)>;
    T x;
    if constexpr (std::is_same_v<T, uint64_t>) {
      const Owned index(PyNumber_Index(object));
      x = PyLong_AsUnsignedLongLong(index.get());
      if (PyErr_Occurred()) throw PythonError{};
    } else if constexpr (std::is_floating_point_v<T>) {
      const double value = PyFloat_AsDouble(object);
      if (value == -1.0 && PyErr_Occurred()) throw PythonError{};
      x = static_cast<T>(value);
    } else {
      const int64_t value = integer_from(object);
      x = static_cast<T>(value);
      if (static_cast<int64_t>(x) != value) throw ValueError(std::to_string(value) + " does not fit " + name_of(dtype));
    }
    std::memcpy(at, &x, sizeof(T));
  });
}

bool is_list(PyObject* data) { return PyList_Check(data) || PyTuple_Check(data); }

// The shape of nested lists by their first elements; `fill` refuses what does not keep to it.
void append_shape(PyObject* data, Dims& shape) {
  if (!is_list(data)) return;
  const Py_ssize_t size = PySequence_Size(data);
  shape.push(size);
  if (size > 0) append_shape(Owned(PySequence_GetItem(data, 0)).get(), shape);
}

void fill(PyObject* data, const Tensor& out, int axis, std::byte*& to, KillWatch& watch) {
  watch.spend(1);
  if (axis == out.rank()) {
    store(data, out.dtype(), to);
    to += size_of(out.dtype());
    return;
  }
  if (!is_list(data) || PySequence_Size(data) != out.shape()[axis])
    throw ValueError("nested lists must all have the lengths of shape " + text_of(out.shape()));
  for (int64_t i = 0; i < out.shape()[axis]; ++i)
    fill(Owned(PySequence_GetItem(data, i)).get(), out, axis + 1, to, watch);
}

}  // namespace

Dims dims_from(PyObject* object) {
  Dims out;
  if (!is_list(object)) {
    out.push(integer_from(object));
    return out;
  }
  for (Py_ssize_t i = 0; i < PySequence_Size(object); ++i)
    out.push(integer_from(Owned(PySequence_GetItem(object, i)).get()));
  return out;
}

Dims shape_from(PyObject* object) {
  const Dims out = dims_from(object);
  for (int64_t size : out)
    if (size < -1) throw ValueError("shape " + text_of(out) + " has a negative axis; only one -1 is allowed");
  return out;
}

Tensor tensor_from(PyObject* data, Dtype dtype) {
  Dims shape;
  append_shape(data, shape);
  const Tensor out({dtype, shape});
  std::byte* to = out.data();
  KillWatch watch;
  fill(data, out, 0, to, watch);
  return out;
}

Tensor filled(const Dims& shape, PyObject* value, Dtype dtype) {
  Tensor one(Spec{dtype, {}});
  store(value, dtype, one.data());
  Tensor out({dtype, shape});
  copy_elements(one.expanded(shape), out);
  return out;
}

Tensor tensor_over(PyObject* buffer, Dtype dtype, PyObject* shape) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(buffer, view.get(), PyBUF_C_CONTIGUOUS) != 0) throw PythonError{};
  auto* const bytes = static_cast<std::byte*>(view->buf);
  const int64_t length = view->len;
  std::shared_ptr<std::byte> storage(bytes, [held = view.release()](std::byte*) {
    PyBuffer_Release(held);
    delete held;
  });
  const Dims wanted = shape == Py_None ? Dims{-1} : shape_from(shape);
  if (length % size_of(dtype) != 0)
    throw ValueError(std::to_string(length) + " bytes are not whole elements of " + name_of(dtype));
  const Spec spec{dtype, resolved_shape({length / size_of(dtype)}, wanted)};
  if (reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(size_of(dtype)) == 0) return {spec, storage, bytes};
  const Tensor copy(spec);
  std::memcpy(copy.data(), bytes, static_cast<size_t>(length));
  return copy;
}

const Kernels& kernels_from(const char* level) {
  if (level == nullptr) return best_kernels();
  const Kernels* found = kernels_named(level);
  if (found == nullptr)
    throw ValueError(std::string("this machine has no level '") + level + "'; levels() names those it has");
  return *found;
}

PyObject* apply_and_wrap(const State& state, const Op& op, const std::vector<Tensor>& inputs, const Kernels& kernels) {
  Tensor out;
  {
    const Released released;
    out = apply(op, inputs, kernels);
  }
  return wrap(state, std::move(out));
}

std::vector<Tensor> operands(const State& state, PyObject* a, PyObject* b) {
  const bool left = is_tensor(state, a), right = is_tensor(state, b);
  if (!left && !right) throw DtypeError("one side must be a Tensor; make one with tensor()");
  const Dtype dtype = tensor_of(left ? a : b).dtype();
  return {left ? tensor_of(a) : filled({}, a, dtype), right ? tensor_of(b) : filled({}, b, dtype)};
}

}  // namespace shoal::binding
