// The Tensor type: immutable, final, with the buffer protocol.
#include <new>

#include "bindings/binding.h"

namespace shoal::binding {

namespace {

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<TensorObject*>(self)->value.~Tensor();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* repr(PyObject* self) {
  return guarded(state_of(self), [&] {
    const Tensor& x = tensor_of(self);
    return PyUnicode_FromFormat("Tensor(shape=%s, dtype='%s')", text_of(x.shape()).c_str(), name_of(x.dtype()));
  });
}

// --- what it is -------------------------------------------------------------------------------------------------

PyObject* get_dtype(PyObject* self, void*) { return PyUnicode_FromString(name_of(tensor_of(self).dtype())); }
PyObject* get_shape(PyObject* self, void*) {
  return guarded(state_of(self), [&] { return tuple_of(tensor_of(self).shape()); });
}
PyObject* get_strides(PyObject* self, void*) {
  return guarded(state_of(self), [&] { return tuple_of(tensor_of(self).strides()); });
}
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(tensor_of(self).rank()); }
PyObject* get_size(PyObject* self, void*) { return PyLong_FromLongLong(tensor_of(self).size()); }
PyObject* get_nbytes(PyObject* self, void*) { return PyLong_FromLongLong(tensor_of(self).spec().bytes()); }

PyGetSetDef getters[] = {
    {"dtype", get_dtype, nullptr, "Name of the elements' type.", nullptr},
    {"shape", get_shape, nullptr, "Size of each axis.", nullptr},
    {"strides", get_strides, nullptr, "Elements from one index to the next, for each axis.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"size", get_size, nullptr, "Number of elements.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of the elements.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// --- buffer protocol --------------------------------------------------------------------------------------------

// Shape and strides in bytes live as long as the view: one block, freed on release.
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Tensor& x = tensor_of(self);
  view->obj = nullptr;
  if (flags & PyBUF_WRITABLE) {
    PyErr_SetString(PyExc_BufferError, "a Tensor is immutable; ask for a read-only buffer");
    return -1;
  }
  const int rank = x.rank();
  auto* facts = static_cast<Py_ssize_t*>(PyMem_Malloc(sizeof(Py_ssize_t) * 2 * rank_max));
  if (facts == nullptr) {
    PyErr_NoMemory();
    return -1;
  }
  for (int i = 0; i < rank; ++i) {
    facts[i] = x.shape()[i];
    facts[rank_max + i] = x.strides()[i] * size_of(x.dtype());
  }
  *view = Py_buffer{x.data(), nullptr, x.spec().bytes(), size_of(x.dtype()), 1, rank,
                    const_cast<char*>(struct_format_of(x.dtype())), facts, facts + rank_max, nullptr, facts};
  const auto wants = [flags](int what) { return (flags & what) == what; };
  const bool fits = (wants(PyBUF_STRIDES) || x.contiguous()) &&
                    (!wants(PyBUF_C_CONTIGUOUS) || PyBuffer_IsContiguous(view, 'C')) &&
                    (!wants(PyBUF_F_CONTIGUOUS) || PyBuffer_IsContiguous(view, 'F')) &&
                    (!wants(PyBUF_ANY_CONTIGUOUS) || PyBuffer_IsContiguous(view, 'A'));
  if (!fits) {
    PyMem_Free(facts);
    PyErr_SetString(PyExc_BufferError, "the Tensor is a strided view; use tobytes(), or a consumer that takes strides");
    return -1;
  }
  if (!wants(PyBUF_FORMAT)) view->format = nullptr;
  if (!wants(PyBUF_STRIDES)) view->strides = nullptr;
  if (!wants(PyBUF_ND)) view->shape = nullptr;
  view->obj = Py_NewRef(self);
  return 0;
}

void release_buffer(PyObject*, Py_buffer* view) { PyMem_Free(view->internal); }

// --- reading ----------------------------------------------------------------------------------------------------

PyObject* tobytes(PyObject* self, PyObject*) {
  return guarded(state_of(self), [&] {
    const Tensor& x = tensor_of(self);
    Owned bytes(PyBytes_FromStringAndSize(nullptr, x.spec().bytes()));
    auto* to = reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes.get()));
    copy_elements(x, Tensor(x.spec(), nullptr, to));
    return bytes.release();
  });
}

PyObject* list_of(const Tensor& x, int axis, const std::byte* at, KillWatch& watch) {
  watch.spend(1);
  if (axis == x.rank()) return number_at(x.dtype(), at);
  Owned out(PyList_New(x.shape()[axis]));
  const int64_t step = x.strides()[axis] * size_of(x.dtype());
  for (int64_t i = 0; i < x.shape()[axis]; ++i)
    PyList_SET_ITEM(out.get(), i, Owned(list_of(x, axis + 1, at + i * step, watch)).release());
  return out.release();
}

PyObject* tolist(PyObject* self, PyObject*) {
  return guarded(state_of(self), [&] {
    KillWatch watch;
    return list_of(tensor_of(self), 0, tensor_of(self).data(), watch);
  });
}

PyObject* item(PyObject* self, PyObject*) {
  return guarded(state_of(self), [&] {
    const Tensor& x = tensor_of(self);
    if (x.size() != 1) throw ValueError("item() is for one element; this Tensor has shape " + text_of(x.shape()));
    return number_at(x.dtype(), x.data());
  });
}

// --- views and copies -------------------------------------------------------------------------------------------

PyObject* reshape(PyObject* self, PyObject* shape) {
  return guarded(state_of(self), [&] {
    const Tensor& x = tensor_of(self);
    const Dims made = resolved_shape(x.shape(), shape_from(shape));
    return wrap(state_of(self), contiguous(x).reshaped(made));
  });
}

PyObject* transpose(PyObject* self, PyObject* args) {
  return guarded(state_of(self), [&] {
    PyObject* axes = Py_None;
    if (!PyArg_ParseTuple(args, "|O:transpose", &axes)) throw PythonError{};
    const Tensor& x = tensor_of(self);
    Dims order;
    if (axes == Py_None)
      for (int i = x.rank() - 1; i >= 0; --i) order.push(i);
    return wrap(state_of(self), x.transposed(axes == Py_None ? order : dims_from(axes)));
  });
}

PyObject* astype(PyObject* self, PyObject* name) {
  return guarded(state_of(self), [&] {
    const char* text = PyUnicode_AsUTF8(name);
    if (text == nullptr) throw PythonError{};
    const Dtype dtype = dtype_named(text);
    if (dtype == tensor_of(self).dtype()) return Py_NewRef(self);
    return apply_and_wrap(state_of(self), {OpId::cast, {static_cast<int64_t>(dtype)}}, {tensor_of(self)},
                          best_kernels());
  });
}

PyMethodDef methods[] = {
    {"tobytes", tobytes, METH_NOARGS, "The elements in C order."},
    {"tolist", tolist, METH_NOARGS, "The elements as nested lists, or a number."},
    {"item", item, METH_NOARGS, "The only element."},
    {"reshape", reshape, METH_O, "The same elements in another shape; one axis may be -1."},
    {"transpose", transpose, METH_VARARGS, "A view with the axes in another order; reversed by default."},
    {"astype", astype, METH_O, "The elements in another dtype; what does not fit is clipped."},
    {nullptr, nullptr, 0, nullptr},
};

// --- indexing ---------------------------------------------------------------------------------------------------

Py_ssize_t length(PyObject* self) {
  if (tensor_of(self).rank() > 0) return tensor_of(self).shape()[0];
  PyErr_SetString(PyExc_TypeError, "a Tensor without axes has no length");
  return -1;
}

Tensor picked(const Tensor& x, int axis, int64_t index) {
  const int64_t n = x.shape()[axis], at = index < 0 ? index + n : index;
  if (at >= 0 && at < n) return x.picked(axis, at);
  PyErr_Format(PyExc_IndexError, "index %lld is outside an axis of %lld", static_cast<long long>(index),
               static_cast<long long>(n));
  throw PythonError{};
}

// One index of a key, at `axis`; moves `axis` on past what remains of it.
Tensor indexed(const Tensor& x, PyObject* key, int& axis) {
  if (axis >= x.rank()) {
    PyErr_SetString(PyExc_IndexError, "more indices than axes");
    throw PythonError{};
  }
  if (PySlice_Check(key)) {
    Py_ssize_t start, stop, step;
    if (PySlice_Unpack(key, &start, &stop, &step) < 0) throw PythonError{};
    const Py_ssize_t count = PySlice_AdjustIndices(x.shape()[axis], &start, &stop, step);
    return x.sliced(axis++, start, count, step);
  }
  const Owned number(PyNumber_Index(key));
  const Py_ssize_t index = PyNumber_AsSsize_t(number.get(), PyExc_IndexError);
  if (index == -1 && PyErr_Occurred()) throw PythonError{};
  return picked(x, axis, index);
}

PyObject* subscript(PyObject* self, PyObject* key) {
  return guarded(state_of(self), [&] {
    Tensor x = tensor_of(self);
    int axis = 0;
    if (!PyTuple_Check(key)) return wrap(state_of(self), indexed(x, key, axis));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); ++i) x = indexed(x, PyTuple_GET_ITEM(key, i), axis);
    return wrap(state_of(self), x);
  });
}

PyObject* sequence_item(PyObject* self, Py_ssize_t index) {
  return guarded(state_of(self), [&] {
    if (tensor_of(self).rank() == 0) throw DtypeError("a Tensor without axes has no items");
    return wrap(state_of(self), picked(tensor_of(self), 0, index));
  });
}

// --- arithmetic -------------------------------------------------------------------------------------------------

template <OpId id>
PyObject* binary(PyObject* a, PyObject* b) {
  PyObject* module = PyType_GetModuleByDef(Py_TYPE(a), &module_def);
  if (module == nullptr) {  // the Tensor is on the right
    PyErr_Clear();
    module = PyType_GetModuleByDef(Py_TYPE(b), &module_def);
    if (module == nullptr) return nullptr;
  }
  const State& state = state_of_module(module);
  PyObject* other = is_tensor(state, a) ? b : a;
  if (!is_tensor(state, other) && !PyNumber_Check(other)) return Py_NewRef(Py_NotImplemented);
  return guarded(state, [&] { return apply_and_wrap(state, {id, {}}, operands(state, a, b), best_kernels()); });
}

PyObject* matrix_multiply(PyObject* a, PyObject* b) {
  if (Py_TYPE(a) != Py_TYPE(b)) return Py_NewRef(Py_NotImplemented);
  const State& state = state_of(a);
  return guarded(state, [&] {
    return apply_and_wrap(state, {OpId::matmul, {}}, {tensor_of(a), tensor_of(b)}, best_kernels());
  });
}

template <OpId id>
PyObject* unary(PyObject* self) {
  const State& state = state_of(self);
  return guarded(state, [&] { return apply_and_wrap(state, {id, {}}, {tensor_of(self)}, best_kernels()); });
}

PyObject* raise(PyObject* a, PyObject* b, PyObject* modulo) {
  if (modulo != Py_None) return Py_NewRef(Py_NotImplemented);
  return binary<OpId::power>(a, b);
}

PyObject* compare(PyObject* a, PyObject* b, int how) {
  const State& state = state_of(a);
  if (!is_tensor(state, b) && !PyNumber_Check(b)) return Py_NewRef(Py_NotImplemented);
  return guarded(state, [&] {
    const bool swap = how == Py_GT || how == Py_GE;
    const OpId id = how == Py_EQ || how == Py_NE ? OpId::equal : how == Py_LT || how == Py_GT ? OpId::less : OpId::less_equal;
    Tensor made = apply({id, {}}, swap ? operands(state, b, a) : operands(state, a, b), best_kernels());
    if (how == Py_NE) made = apply({OpId::logical_not, {}}, {{made}}, best_kernels());
    return wrap(state, std::move(made));
  });
}

int truth(PyObject* self) {
  const Tensor& x = tensor_of(self);
  if (x.size() == 1) {
    for (int64_t i = 0; i < size_of(x.dtype()); ++i)
      if (x.data()[i] != std::byte{0}) return x.dtype() != Dtype::float32 || *x.as<float>() != 0.0f;
    return 0;
  }
  PyErr_SetString(PyExc_ValueError, "a Tensor of many elements is neither true nor false; use any() or all()");
  return -1;
}

// Slots are data to Python and functions to C++.
template <typename F>
void* slot(F* function) {
  return reinterpret_cast<void*>(function);
}

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("Typed elements with a shape; immutable. Made by tensor(), frombuffer(), zeros().")},
    {Py_tp_dealloc, slot(dealloc)},
    {Py_tp_repr, slot(repr)},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {Py_bf_getbuffer, slot(get_buffer)},
    {Py_bf_releasebuffer, slot(release_buffer)},
    {Py_tp_iter, slot(PySeqIter_New)},
    {Py_mp_length, slot(length)},
    {Py_mp_subscript, slot(subscript)},
    {Py_sq_length, slot(length)},
    {Py_sq_item, slot(sequence_item)},
    {Py_nb_add, slot(binary<OpId::add>)},
    {Py_nb_subtract, slot(binary<OpId::subtract>)},
    {Py_nb_multiply, slot(binary<OpId::multiply>)},
    {Py_nb_true_divide, slot(binary<OpId::divide>)},
    {Py_nb_matrix_multiply, slot(matrix_multiply)},
    {Py_nb_negative, slot(unary<OpId::negative>)},
    {Py_nb_bool, slot(truth)},
    {Py_nb_and, slot(binary<OpId::logical_and>)},
    {Py_nb_or, slot(binary<OpId::logical_or>)},
    {Py_nb_xor, slot(binary<OpId::logical_xor>)},
    {Py_nb_power, slot(raise)},
    {Py_nb_invert, slot(unary<OpId::logical_not>)},
    {Py_nb_absolute, slot(unary<OpId::absolute>)},
    {Py_tp_richcompare, slot(compare)},
    {Py_tp_hash, slot(PyObject_HashNotImplemented)},
    {0, nullptr},
};

}  // namespace

PyType_Spec tensor_spec = {"device_agent.engine._core.Tensor", sizeof(TensorObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace shoal::binding
