// The functions of the module: making tensors, operators, what the machine can do.
#include <limits>

#include "bindings/binding.h"

namespace shoal::binding {

namespace {

// PyArg_ParseTupleAndKeywords that unwinds.
template <typename... Targets>
void parse(PyObject* args, PyObject* names, const char* format, const char* const* keywords, Targets... targets) {
  if (!PyArg_ParseTupleAndKeywords(args, names, format, const_cast<char**>(keywords), targets...)) throw PythonError{};
}

Dtype dtype_or_float(const char* name) { return name == nullptr ? Dtype::float32 : dtype_named(name); }

// --- making -----------------------------------------------------------------------------------------------------

PyObject* tensor(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"data", "dtype", nullptr};
    PyObject* data = nullptr;
    const char* dtype = nullptr;
    parse(args, names, "O|s:tensor", keywords, &data, &dtype);
    return wrap(state, tensor_from(data, dtype_or_float(dtype)));
  });
}

PyObject* frombuffer(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"buffer", "dtype", "shape", nullptr};
    PyObject *buffer = nullptr, *shape = Py_None;
    const char* dtype = nullptr;
    parse(args, names, "O|sO:frombuffer", keywords, &buffer, &dtype, &shape);
    return wrap(state, tensor_over(buffer, dtype_or_float(dtype), shape));
  });
}

PyObject* zeros(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"shape", "dtype", nullptr};
    PyObject* shape = nullptr;
    const char* dtype = nullptr;
    parse(args, names, "O|s:zeros", keywords, &shape, &dtype);
    const Owned zero(PyLong_FromLong(0));
    return wrap(state, filled(dims_from(shape), zero.get(), dtype_or_float(dtype)));
  });
}

PyObject* full(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"shape", "value", "dtype", nullptr};
    PyObject *shape = nullptr, *value = nullptr;
    const char* dtype = nullptr;
    parse(args, names, "OO|s:full", keywords, &shape, &value, &dtype);
    return wrap(state, filled(dims_from(shape), value, dtype_or_float(dtype)));
  });
}

// --- operators --------------------------------------------------------------------------------------------------

template <OpId id>
PyObject* binary(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a", "b", "level", nullptr};
    PyObject *a = nullptr, *b = nullptr;
    const char* level = nullptr;
    parse(args, names, "OO|$z", keywords, &a, &b, &level);
    return apply_and_wrap(state, {id, {}}, operands(state, a, b), kernels_from(level));
  });
}

template <OpId id>
PyObject* unary(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "level", nullptr};
    PyObject* x = nullptr;
    const char* level = nullptr;
    parse(args, names, "O|$z", keywords, &x, &level);
    return apply_and_wrap(state, {id, {}}, {need_tensor(state, x)}, kernels_from(level));
  });
}

PyObject* clip(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "low", "high", "level", nullptr};
    PyObject* x = nullptr;
    double low = 0, high = 0;
    const char* level = nullptr;
    parse(args, names, "Odd|$z:clip", keywords, &x, &low, &high, &level);
    return apply_and_wrap(state, {OpId::clip, {word_of(low), word_of(high)}}, {need_tensor(state, x)},
                          kernels_from(level));
  });
}

// The same with the operands swapped: a > b is b < a.
template <OpId id>
PyObject* swapped(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a", "b", nullptr};
    PyObject *a = nullptr, *b = nullptr;
    parse(args, names, "OO", keywords, &a, &b);
    return apply_and_wrap(state, {id, {}}, operands(state, b, a), best_kernels());
  });
}

PyObject* not_equal(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a", "b", nullptr};
    PyObject *a = nullptr, *b = nullptr;
    parse(args, names, "OO:not_equal", keywords, &a, &b);
    const Tensor same = apply({OpId::equal, {}}, operands(state, a, b), best_kernels());
    return apply_and_wrap(state, {OpId::logical_not, {}}, {same}, best_kernels());
  });
}

PyObject* where(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"condition", "a", "b", nullptr};
    PyObject *condition = nullptr, *a = nullptr, *b = nullptr;
    parse(args, names, "OOO:where", keywords, &condition, &a, &b);
    std::vector<Tensor> inputs = operands(state, a, b);
    inputs.insert(inputs.begin(), need_tensor(state, condition));
    return apply_and_wrap(state, {OpId::where, {}}, inputs, best_kernels());
  });
}

// Functions of a tensor and an axis; `flag` is an attribute after it, where there is one.
PyObject* cumulative_sum(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "axis", nullptr};
    PyObject* x = nullptr;
    long long axis = -1;
    parse(args, names, "O|L:cumulative_sum", keywords, &x, &axis);
    return apply_and_wrap(state, {OpId::cumulative_sum, {axis}}, {need_tensor(state, x)}, best_kernels());
  });
}

PyObject* argsort(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "axis", "descending", nullptr};
    PyObject* x = nullptr;
    long long axis = -1;
    int descending = 0;
    parse(args, names, "O|L$p:argsort", keywords, &x, &axis, &descending);
    return apply_and_wrap(state, {OpId::argsort, {axis, descending}}, {need_tensor(state, x)}, best_kernels());
  });
}

template <OpId id>
PyObject* by_indices(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "indices", "axis", nullptr};
    PyObject *x = nullptr, *indices = nullptr;
    long long axis = id == OpId::take ? 0 : -1;
    parse(args, names, "OO|L", keywords, &x, &indices, &axis);
    return apply_and_wrap(state, {id, {axis}}, {need_tensor(state, x), need_tensor(state, indices)}, best_kernels());
  });
}

PyObject* broadcast_to(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "shape", nullptr};
    PyObject *x = nullptr, *shape = nullptr;
    parse(args, names, "OO:broadcast_to", keywords, &x, &shape);
    Op op{OpId::broadcast, {}};
    for (int64_t size : dims_from(shape)) op.attributes.push_back(size);
    return apply_and_wrap(state, op, {need_tensor(state, x)}, best_kernels());
  });
}

PyObject* fft(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "inverse", nullptr};
    PyObject* x = nullptr;
    int inverse = 0;
    parse(args, names, "O|$p:fft", keywords, &x, &inverse);
    return apply_and_wrap(state, {OpId::fft, {inverse}}, {need_tensor(state, x)}, best_kernels());
  });
}

PyObject* resize(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "height", "width", "kind", nullptr};
    PyObject* x = nullptr;
    long long height = 0, width = 0;
    const char* kind = "smooth";
    parse(args, names, "OLL|s:resize", keywords, &x, &height, &width, &kind);
    return apply_and_wrap(state, {OpId::resize, {height, width, resize_kind(kind)}}, {need_tensor(state, x)}, best_kernels());
  });
}

PyObject* matmul(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a", "b", "level", nullptr};
    PyObject *a = nullptr, *b = nullptr;
    const char* level = nullptr;
    parse(args, names, "OO|$z:matmul", keywords, &a, &b, &level);
    return apply_and_wrap(state, {OpId::matmul, {}}, {need_tensor(state, a), need_tensor(state, b)},
                          kernels_from(level));
  });
}

PyObject* gemm(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"a",           "b",           "c",     "alpha", "beta",
                                           "transpose_a", "transpose_b", "level", nullptr};
    PyObject *a = nullptr, *b = nullptr, *c = Py_None;
    double alpha = 1, beta = 1;
    int transpose_a = 0, transpose_b = 0;
    const char* level = nullptr;
    parse(args, names, "OO|Oddpp$z:gemm", keywords, &a, &b, &c, &alpha, &beta, &transpose_a, &transpose_b, &level);
    std::vector<Tensor> inputs = {need_tensor(state, a), need_tensor(state, b)};
    if (c != Py_None) inputs.push_back(need_tensor(state, c));
    return apply_and_wrap(state, {OpId::gemm, {word_of(alpha), word_of(beta), transpose_a, transpose_b}}, inputs,
                          kernels_from(level));
  });
}

PyObject* softmax(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "axis", "level", nullptr};
    PyObject* x = nullptr;
    long long axis = -1;
    const char* level = nullptr;
    parse(args, names, "O|L$z:softmax", keywords, &x, &axis, &level);
    return apply_and_wrap(state, {OpId::softmax, {axis}}, {need_tensor(state, x)}, kernels_from(level));
  });
}

template <OpId id>
PyObject* place(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "axis", "keepdims", "level", nullptr};
    PyObject* x = nullptr;
    long long axis = -1;
    int keep = 0;
    const char* level = nullptr;
    parse(args, names, "O|Lp$z", keywords, &x, &axis, &keep, &level);
    return apply_and_wrap(state, {id, {axis, keep}}, {need_tensor(state, x)}, kernels_from(level));
  });
}

template <OpId id>
PyObject* reduce(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"x", "axis", "keepdims", "level", nullptr};
    PyObject *x = nullptr, *axes = Py_None;
    int keep = 0;
    const char* level = nullptr;
    parse(args, names, "O|Op$z", keywords, &x, &axes, &keep, &level);
    Op op{id, {keep}};
    if (axes != Py_None)
      for (int64_t axis : dims_from(axes)) op.attributes.push_back(axis);
    return apply_and_wrap(state, op, {need_tensor(state, x)}, kernels_from(level));
  });
}

PyObject* concat(PyObject* module, PyObject* args, PyObject* names) {
  const State& state = state_of_module(module);
  return guarded(state, [&] {
    static const char* const keywords[] = {"tensors", "axis", nullptr};
    PyObject* tensors = nullptr;
    long long axis = 0;
    parse(args, names, "O|L:concat", keywords, &tensors, &axis);
    const Owned all(PySequence_Tuple(tensors));
    std::vector<Tensor> inputs;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all.get()); ++i)
      inputs.push_back(need_tensor(state, PyTuple_GET_ITEM(all.get(), i)));
    return apply_and_wrap(state, {OpId::concat, {axis}}, inputs, best_kernels());
  });
}

// --- the machine and the op set ---------------------------------------------------------------------------------

template <typename Row, typename F>
PyObject* tuple_from(const std::vector<Row>& rows, F make) {
  Owned out(PyTuple_New(static_cast<Py_ssize_t>(rows.size())));
  for (size_t i = 0; i < rows.size(); ++i)
    PyTuple_SET_ITEM(out.get(), static_cast<Py_ssize_t>(i), Owned(make(rows[i])).release());
  return out.release();
}

PyObject* levels(PyObject* module, PyObject*) {
  return guarded(state_of_module(module), [] {
    std::vector<const char*> names;
    for (Level level : {Level::portable, Level::neon, Level::avx2, Level::avx512})
      if (runs_here(level)) names.push_back(name_of(level));
    return tuple_from(names, PyUnicode_FromString);
  });
}

PyObject* cpu_features(PyObject* module, PyObject*) {
  return guarded(state_of_module(module), [] {
    std::vector<const char*> names;
#if defined(__x86_64__)
#define HAS(feature) \
  if (__builtin_cpu_supports(feature)) names.push_back(feature)
    HAS("sse4.2");
    HAS("avx");
    HAS("avx2");
    HAS("fma");
    HAS("avx512f");
    HAS("avx512bw");
    HAS("avx512dq");
    HAS("avx512vl");
    HAS("avx512vnni");
    HAS("avx512bf16");
#undef HAS
#endif
    return tuple_from(names, PyUnicode_FromString);
  });
}

PyObject* describe_op_table(PyObject* module, PyObject*) {
  return guarded(state_of_module(module), [] {
    const auto table = op_table();
    return tuple_from(std::vector<OpRow>(table.begin(), table.end()), [](const OpRow& row) {
      return Py_BuildValue("(isiiisI)", static_cast<int>(row.id), row.name, row.inputs_min, row.inputs_max,
                           row.outputs, row.attributes, row.since);
    });
  });
}

using Keywords = PyObject* (*)(PyObject*, PyObject*, PyObject*);
PyCFunction with_keywords(Keywords function) { return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function)); }
constexpr int words = METH_VARARGS | METH_KEYWORDS;

}  // namespace

PyMethodDef functions[] = {
    {"tensor", with_keywords(tensor), words, "A Tensor of a number or nested lists."},
    {"frombuffer", with_keywords(frombuffer), words, "A Tensor over a buffer's bytes, without a copy."},
    {"zeros", with_keywords(zeros), words, "A Tensor of zeros."},
    {"full", with_keywords(full), words, "A Tensor of one number."},
    {"add", with_keywords(binary<OpId::add>), words, "a + b, broadcasting."},
    {"subtract", with_keywords(binary<OpId::subtract>), words, "a - b, broadcasting."},
    {"multiply", with_keywords(binary<OpId::multiply>), words, "a * b, broadcasting."},
    {"divide", with_keywords(binary<OpId::divide>), words, "a / b, broadcasting; integers round toward zero."},
    {"maximum", with_keywords(binary<OpId::maximum>), words, "The larger of a and b, broadcasting."},
    {"minimum", with_keywords(binary<OpId::minimum>), words, "The smaller of a and b, broadcasting."},
    {"power", with_keywords(binary<OpId::power>), words, "a to the power of b, broadcasting."},
    {"equal", with_keywords(binary<OpId::equal>), words, "Whether a == b, broadcasting."},
    {"not_equal", with_keywords(not_equal), words, "Whether a != b, broadcasting."},
    {"less", with_keywords(binary<OpId::less>), words, "Whether a < b, broadcasting."},
    {"less_equal", with_keywords(binary<OpId::less_equal>), words, "Whether a <= b, broadcasting."},
    {"greater", with_keywords(swapped<OpId::less>), words, "Whether a > b, broadcasting."},
    {"greater_equal", with_keywords(swapped<OpId::less_equal>), words, "Whether a >= b, broadcasting."},
    {"logical_and", with_keywords(binary<OpId::logical_and>), words, "a and b, element by element."},
    {"logical_or", with_keywords(binary<OpId::logical_or>), words, "a or b, element by element."},
    {"logical_xor", with_keywords(binary<OpId::logical_xor>), words, "Either a or b, element by element."},
    {"logical_not", with_keywords(unary<OpId::logical_not>), words, "not x, element by element."},
    {"where", with_keywords(where), words, "a where the condition holds, else b."},
    {"abs", with_keywords(unary<OpId::absolute>), words, "Without its sign."},
    {"log", with_keywords(unary<OpId::logarithm>), words, "Natural logarithm."},
    {"log1p", with_keywords(unary<OpId::log1p>), words, "Natural logarithm of 1 + x, also where x is small."},
    {"floor", with_keywords(unary<OpId::floor>), words, "The whole number below."},
    {"ceil", with_keywords(unary<OpId::ceil>), words, "The whole number above."},
    {"round", with_keywords(unary<OpId::round>), words, "The nearest whole number; halves to the even one."},
    {"sin", with_keywords(unary<OpId::sine>), words, "Sine of an angle in radians."},
    {"cos", with_keywords(unary<OpId::cosine>), words, "Cosine of an angle in radians."},
    {"relu", with_keywords(unary<OpId::relu>), words, "max(x, 0)."},
    {"sigmoid", with_keywords(unary<OpId::sigmoid>), words, "1 / (1 + exp(-x))."},
    {"tanh", with_keywords(unary<OpId::tanh>), words, "Hyperbolic tangent."},
    {"exp", with_keywords(unary<OpId::exp>), words, "e to the power of x."},
    {"sqrt", with_keywords(unary<OpId::sqrt>), words, "Square root."},
    {"negative", with_keywords(unary<OpId::negative>), words, "-x."},
    {"clip", with_keywords(clip), words, "x, at least low and at most high."},
    {"matmul", with_keywords(matmul), words, "Matrix product; leading axes broadcast."},
    {"gemm", with_keywords(gemm), words, "alpha * a @ b + beta * c."},
    {"softmax", with_keywords(softmax), words, "exp(x) over its sum along an axis."},
    {"argmax", with_keywords(place<OpId::argmax>), words, "Where the largest element along an axis is."},
    {"argmin", with_keywords(place<OpId::argmin>), words, "Where the smallest element along an axis is."},
    {"sum", with_keywords(reduce<OpId::reduce_sum>), words, "Sum over axes; all by default."},
    {"mean", with_keywords(reduce<OpId::reduce_mean>), words, "Mean over axes; all by default."},
    {"max", with_keywords(reduce<OpId::reduce_max>), words, "Largest over axes; all by default."},
    {"min", with_keywords(reduce<OpId::reduce_min>), words, "Smallest over axes; all by default."},
    {"prod", with_keywords(reduce<OpId::reduce_product>), words, "Product over axes; all by default."},
    {"cumulative_sum", with_keywords(cumulative_sum), words, "Running sum along an axis."},
    {"argsort", with_keywords(argsort), words, "Indices that sort along an axis; equals keep their order."},
    {"take", with_keywords(by_indices<OpId::take>), words, "The slices of x at indices of an axis."},
    {"take_along_axis", with_keywords(by_indices<OpId::take_along>), words, "One element an index, along an axis."},
    {"broadcast_to", with_keywords(broadcast_to), words, "x repeated to a shape."},
    {"fft", with_keywords(fft), words, "Discrete Fourier transform of (..., n, 2): real and imaginary parts."},
    {"resize", with_keywords(resize), words, "A picture (height, width, channels) in another size."},
    {"concat", with_keywords(concat), words, "Tensors one after the other along an axis."},
    {"levels", levels, METH_NOARGS, "Levels of kernels that this machine runs; the last is used."},
    {"cpu_features", cpu_features, METH_NOARGS, "Instruction sets that matter to the engine."},
    {"bound_process", bound_process, METH_VARARGS, "Ends this process with a status when its tensors need more bytes."},
    {"engine_bytes", engine_bytes, METH_NOARGS, "(now, at most) that the tensors of this thread's run hold."},
    {"set_costs", set_costs, METH_VARARGS, "What a level's kernels cost on this machine, for every plan of the process."},
    {"costs", costs, METH_VARARGS, "The same as it was set, or None."},
    {"op_table", describe_op_table, METH_NOARGS, "(id, name, inputs min, inputs max, outputs, attributes, since) of each operator."},
    {"map_model", map_model, METH_VARARGS, "A model file's bytes, checked and mapped once for the whole process."},
    {"check_model", check_model, METH_VARARGS, "A model file's bytes, checked and copied."},
    {"command_floats", command_floats, METH_VARARGS, "Floats of (packed weights, workspace) of a kernel's command; -1: it cannot."},
    {"session", make_session, METH_VARARGS, "A Session of a plan and a model file's bytes."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace shoal::binding
