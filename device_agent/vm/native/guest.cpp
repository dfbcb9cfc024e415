#include "guest.h"

#include <marshal.h>

#include <chrono>
#include <cmath>

#include "keeper.h"

namespace shoal {
namespace {

constexpr const char* kPlan = "shoal.plan";  // what is asked; no task's own question begins like this
constexpr int64_t kStandsNs = 60'000'000'000;  // a host that does not answer for so long does not answer at all

struct Table {
  ModuleTable modules;
  std::string glue;
};

std::atomic<const Table*> g_table{nullptr};  // set once, kept for as long as the process lives
const Table& table() { return *g_table.load(); }

PyObject* unmarshal(const std::string& code) {
  return PyMarshal_ReadObjectFromString(code.data(), static_cast<Py_ssize_t>(code.size()));
}

PyObject* reach_limit(Vm& vm, bool& flag, const char* text) {
  flag = true;
  PyErr_SetString(vm.limit_type, text);
  return nullptr;
}

bool add_line(Vm& vm, std::string line) {
  if (vm.written.logs.size() >= vm.spec.log_lines) {
    reach_limit(vm, vm.written.past_logs, "log_lines is reached");
    return false;
  }
  vm.written.logs.push_back(cut_utf8(std::move(line), kLogLineBytes));
  return true;
}

// emit(topic, payload): checked here, so that nothing in the guest can get round it.
PyObject* guest_emit(PyObject*, PyObject* args) {
  const char* topic;
  Py_buffer payload;
  if (!PyArg_ParseTuple(args, "sy*:emit", &topic, &payload)) return nullptr;
  Vm& vm = *current_vm();
  PyObject* result = nullptr;
  if (vm.phase != Phase::run) {
    PyErr_SetString(PyExc_RuntimeError, "emit only while an event is handled, not while the module loads");
  } else if (!vm.spec.topics.contains(topic)) {
    PyErr_Format(PyExc_PermissionError, "topic '%s' is not permitted; add it to permissions.emit in task.toml", topic);
  } else {
    size_t bytes = std::char_traits<char>::length(topic) + static_cast<size_t>(payload.len);
    if (vm.written.emit_bytes + bytes > vm.spec.output_bytes) {
      reach_limit(vm, vm.written.past_output, "output_bytes is reached");
    } else {
      vm.written.emit_bytes += bytes;
      vm.written.emits.emplace_back(topic, std::string(static_cast<const char*>(payload.buf), static_cast<size_t>(payload.len)));
      result = Py_NewRef(Py_None);
    }
  }
  PyBuffer_Release(&payload);
  return result;
}

bool utf8_of(PyObject* text, std::string* out) {
  PyObject* bytes = PyUnicode_AsEncodedString(text, "utf-8", "replace");
  if (bytes == nullptr) return false;
  out->assign(PyBytes_AS_STRING(bytes), static_cast<size_t>(PyBytes_GET_SIZE(bytes)));
  Py_DECREF(bytes);
  return true;
}

PyObject* guest_log(PyObject*, PyObject* text) {
  std::string line;
  if (!PyUnicode_Check(text)) return PyErr_Format(PyExc_TypeError, "log takes a str, not %s", Py_TYPE(text)->tp_name);
  if (!utf8_of(text, &line) || !add_line(*current_vm(), std::move(line))) return nullptr;
  Py_RETURN_NONE;
}

// write(text): what print and standard error end in; each line is a log line.
PyObject* guest_write(PyObject*, PyObject* text) {
  std::string part;
  if (!PyUnicode_Check(text)) return PyErr_Format(PyExc_TypeError, "write takes a str, not %s", Py_TYPE(text)->tp_name);
  if (!utf8_of(text, &part)) return nullptr;
  Vm& vm = *current_vm();
  size_t from = 0;
  for (size_t end; (end = part.find('\n', from)) != std::string::npos; from = end + 1) {
    std::string line = std::move(vm.written.line) + part.substr(from, end - from);
    vm.written.line.clear();
    if (!add_line(vm, std::move(line))) return nullptr;
  }
  if (vm.written.line.size() < kLogLineBytes) vm.written.line += part.substr(from, kLogLineBytes);
  return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

PyObject* guest_ignore(PyObject*, PyObject*) { Py_RETURN_NONE; }

// sleep(seconds): waits where a kill can wake it (rule K3).
PyObject* guest_sleep(PyObject*, PyObject* argument) {
  double seconds = PyFloat_AsDouble(argument);
  if (seconds == -1.0 && PyErr_Occurred()) return nullptr;
  if (!(seconds >= 0.0)) return PyErr_Format(PyExc_ValueError, "sleep length must be non-negative");
  Vm& vm = *current_vm();
  bool killed = false;
  auto length = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(std::fmin(seconds, 1e6)));
  Py_BEGIN_ALLOW_THREADS;
  std::unique_lock lock(vm.mutex);
  killed = vm.changed.wait_for(lock, length, [&] { return vm.reason != Reason::none; });
  lock.unlock();
  Py_END_ALLOW_THREADS;
  if (killed) {
    PyErr_SetString(vm.killed_type, "the run was killed");
    return nullptr;
  }
  Py_RETURN_NONE;
}

enum class Clock { runs, stands };

// Posts the question and waits; false when the run was killed meanwhile. What the host does for the run while the clock
// stands is not the run's time.
bool wait_for_answer(Vm& vm, Message question, Answer* answer, Clock clock) {
  const int64_t asked = now_ns();
  int64_t deadline = 0;
  {
    std::lock_guard lock(vm.mutex);
    if (vm.reason != Reason::none) return false;  // a killed run that asks on must not pile up questions
    vm.answer.reset();
    vm.asking = true;
    if (clock == Clock::stands) deadline = vm.deadline_ns.exchange(asked + kStandsNs);
  }
  vm.channel->post(std::move(question));
  {
    std::unique_lock lock(vm.mutex);
    vm.changed.wait(lock, [&] { return vm.reason != Reason::none || vm.answer.has_value(); });
    vm.asking = false;
    if (vm.reason != Reason::none) return false;
    *answer = std::move(*vm.answer);
    if (clock == Clock::runs) return true;
    const int64_t waited = now_ns() - asked;
    vm.began_ns += waited;
    deadline += waited;
    vm.deadline_ns.store(deadline);
  }
  watch(deadline);
  return true;
}

PyObject* answered(Vm& vm, Message question, Clock clock) {
  question.vm = vm.id;
  question.happened = Happened::asked;
  question.run = vm.run;
  Answer answer;
  bool alive;
  Py_BEGIN_ALLOW_THREADS;
  alive = wait_for_answer(vm, std::move(question), &answer, clock);
  Py_END_ALLOW_THREADS;
  if (!alive) {
    PyErr_SetString(vm.killed_type, "the run was killed");
    return nullptr;
  }
  if (answer.good) return PyBytes_FromStringAndSize(answer.data.data(), static_cast<Py_ssize_t>(answer.data.size()));
  return PyErr_Format(PyExc_ValueError, "%s", answer.data.c_str());
}

Message question_of(const char* what, const char* about, Py_buffer* data) {
  Message question;
  question.outcome = what;
  question.emits.emplace_back(about, std::string(static_cast<const char*>(data->buf), static_cast<size_t>(data->len)));
  PyBuffer_Release(data);
  return question;
}

// ask(what, data) -> bytes: the host answers; a kill wakes who waits for it (rule K3).
PyObject* guest_ask(PyObject*, PyObject* args) {
  const char* what;
  Py_buffer data;
  if (!PyArg_ParseTuple(args, "sy*:ask", &what, &data)) return nullptr;
  Vm& vm = *current_vm();
  Message question = question_of(what, "", &data);
  if (vm.phase != Phase::run) return PyErr_Format(PyExc_RuntimeError, "ask only while an event is handled, not while the module loads");
  return answered(vm, std::move(question), Clock::runs);
}

// plan(path of a model, request) -> bytes: the host has a stage planned; while the module loads, too.
PyObject* guest_plan(PyObject*, PyObject* args) {
  const char* path;
  Py_buffer data;
  if (!PyArg_ParseTuple(args, "sy*:plan", &path, &data)) return nullptr;
  Vm& vm = *current_vm();
  Message question = question_of(kPlan, path, &data);
  if (vm.phase == Phase::close) return PyErr_Format(PyExc_RuntimeError, "the task is ending: nothing is planned any more");
  return answered(vm, std::move(question), Clock::stands);
}

PyObject* guest_resource(PyObject*, PyObject* name) {
  const char* path = PyUnicode_AsUTF8(name);
  if (path == nullptr) return nullptr;
  const auto& resources = current_vm()->spec.resources;
  auto found = resources.find(path);
  if (found == resources.end()) return PyErr_Format(PyExc_FileNotFoundError, "the bundle has no resource '%s'; name it in [[resources]] of task.toml", path);
  return PyUnicode_DecodeFSDefaultAndSize(found->second.data(), static_cast<Py_ssize_t>(found->second.size()));
}

// find(name): None, or (kind, is package, path of an extension).
PyObject* guest_find(PyObject*, PyObject* argument) {
  const char* name = PyUnicode_AsUTF8(argument);
  if (name == nullptr) return nullptr;
  const auto& own = current_vm()->spec.modules;
  if (own.contains(name)) {
    std::string prefix = std::string(name) + ".";
    bool package = false;
    for (const auto& [other, code] : own) package = package || other.starts_with(prefix);
    return Py_BuildValue("(sOs)", "python", package ? Py_True : Py_False, "");
  }
  auto found = table().modules.find(name);
  if (found == table().modules.end()) Py_RETURN_NONE;
  const Importable& module = found->second;
  static const char* const kinds[] = {"python", "extension", "builtin"};
  const char* path = module.kind == Kind::extension ? module.body.c_str() : "";
  return Py_BuildValue("(sOs)", kinds[static_cast<int>(module.kind)], module.package ? Py_True : Py_False, path);
}

PyObject* guest_code(PyObject*, PyObject* argument) {
  const char* name = PyUnicode_AsUTF8(argument);
  if (name == nullptr) return nullptr;
  const auto& own = current_vm()->spec.modules;
  if (auto found = own.find(name); found != own.end()) return unmarshal(found->second);
  auto found = table().modules.find(name);
  if (found == table().modules.end() || found->second.kind != Kind::python) return PyErr_Format(PyExc_ImportError, "no code for '%s'", name);
  return unmarshal(found->second.body);
}

PyMethodDef guest_methods[] = {
    {"emit", guest_emit, METH_VARARGS, "emit(topic, payload)"},
    {"log", guest_log, METH_O, "log(text)"},
    {"write", guest_write, METH_O, "write(text)"},
    {"ignore", guest_ignore, METH_VARARGS, "ignore(*anything)"},
    {"sleep", guest_sleep, METH_O, "sleep(seconds)"},
    {"ask", guest_ask, METH_VARARGS, "ask(what, data) -> the host's answer"},
    {"plan", guest_plan, METH_VARARGS, "plan(path of a model, request) -> the stage that a VM of the host planned"},
    {"resource", guest_resource, METH_O, "resource(path in the bundle) -> path of the file"},
    {"find", guest_find, METH_O, "find(module name)"},
    {"code", guest_code, METH_O, "code(module name)"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot guest_slots[] = {{Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED}, {0, nullptr}};
PyModuleDef guest_def = {PyModuleDef_HEAD_INIT, "_shoal", "The host's side of the border.", 0, guest_methods, guest_slots, nullptr, nullptr, nullptr};

PyObject* make_border() {
  PyObject* types = PyImport_ImportModule("_frozen_importlib");
  PyObject* spec = types == nullptr ? nullptr : PyObject_CallMethod(types, "ModuleSpec", "sO", "_shoal", Py_None);
  Py_XDECREF(types);
  if (spec == nullptr) return nullptr;
  PyObject* module = PyModule_FromDefAndSpec(&guest_def, spec);
  Py_DECREF(spec);
  if (module != nullptr && PyModule_ExecDef(module, &guest_def) < 0) Py_CLEAR(module);
  return module;
}

bool make_types(Vm& vm, PyObject* border) {
  vm.killed_type = PyErr_NewException("shoal_task.Killed", PyExc_BaseException, nullptr);
  vm.limit_type = PyErr_NewException("shoal_task.LimitReached", PyExc_BaseException, nullptr);
  vm.lent_type = make_lent_type();
  return vm.lent_type != nullptr && vm.killed_type != nullptr && vm.limit_type != nullptr && PyModule_AddObjectRef(border, "Killed", vm.killed_type) == 0 &&
         PyModule_AddObjectRef(border, "LimitReached", vm.limit_type) == 0;
}

// CPython 3.13 frees P.args and P.kwargs of a ParamSpec without telling their weak references, which then point at memory
// that is used again. So none can be made: the two types, which are each interpreter's own, lose the place for them.
bool close_dangling_weakrefs() {
  PyObject* typing = PyImport_ImportModule("_typing");
  bool closed = typing != nullptr;
  for (const char* name : {"ParamSpecArgs", "ParamSpecKwargs"}) {
    PyObject* type = closed ? PyObject_GetAttrString(typing, name) : nullptr;
    closed = type != nullptr && PyType_Check(type) && (PyType_GetFlags(reinterpret_cast<PyTypeObject*>(type)) & Py_TPFLAGS_HEAPTYPE) != 0;
    if (closed) reinterpret_cast<PyTypeObject*>(type)->tp_weaklistoffset = 0;
    Py_XDECREF(type);
  }
  Py_XDECREF(typing);
  return closed && PyDict_DelItemString(PyImport_GetModuleDict(), "_typing") == 0;
}

bool run_glue(Vm& vm) {
  PyObject* code = unmarshal(table().glue);
  PyObject* names = code == nullptr ? nullptr : PyDict_New();
  bool done = names != nullptr && PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) == 0;
  PyObject* result = done ? PyEval_EvalCode(code, names, names) : nullptr;
  Py_XDECREF(code);
  if (result != nullptr) {
    vm.invoke = Py_XNewRef(PyDict_GetItemString(names, "bind"));
    vm.teardown = Py_XNewRef(PyDict_GetItemString(names, "teardown"));
  }
  Py_XDECREF(result);
  Py_XDECREF(names);
  return vm.invoke != nullptr && vm.teardown != nullptr;
}

std::string raised() {
  PyObject* exception = PyErr_GetRaisedException();
  if (exception == nullptr) return "the glue lacks its functions";
  PyObject* text = PyObject_Repr(exception);
  const char* utf8 = text == nullptr ? nullptr : PyUnicode_AsUTF8(text);
  std::string why = utf8 == nullptr ? "the glue raised" : utf8;
  Py_XDECREF(text);
  Py_DECREF(exception);
  PyErr_Clear();
  return why;
}

}  // namespace

bool set_module_table(ModuleTable modules, std::string glue) {
  if (g_table.load() != nullptr) return false;
  g_table.store(new Table{std::move(modules), std::move(glue)});
  return true;
}

bool boot_guest(Vm& vm, std::string* why) {
  PyObject* border = make_border();
  bool ready = border != nullptr && make_types(vm, border) && PyDict_SetItemString(PyImport_GetModuleDict(), "_shoal", border) == 0 &&
               close_dangling_weakrefs() && run_glue(vm);
  Py_XDECREF(border);
  if (!ready) *why = raised();
  return ready;
}

void end_line(Vm& vm) {
  if (vm.written.line.empty()) return;
  if (vm.written.logs.size() < vm.spec.log_lines) vm.written.logs.push_back(cut_utf8(std::move(vm.written.line), kLogLineBytes));
  vm.written.line.clear();
}

std::string cut_utf8(std::string text, size_t bytes_max) {
  if (text.size() <= bytes_max) return text;
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

}  // namespace shoal
