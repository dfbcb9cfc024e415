// The _host module: the main interpreter's face of the VMs. Bytes go in, bytes come out, and no object crosses.
//
// - It holds process-wide state on purpose (hooks, timekeeper), so it refuses to load in any other interpreter.
// - No C++ exception crosses into Python.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <atomic>
#include <exception>
#include <utility>

#include "guest.h"
#include "keeper.h"
#include "process.h"
#include "sampler.h"
#include "vm.h"

namespace shoal {
namespace {

struct State {
  PyTypeObject* channel_type;
  PyTypeObject* vm_type;
};

struct ChannelObject {
  PyObject_HEAD
  std::shared_ptr<Channel> channel;
  std::shared_ptr<Vm> spare;  // made ahead, waiting for its task
};

struct VmObject {
  PyObject_HEAD
  std::shared_ptr<Vm> vm;
};

std::atomic<uint64_t> g_next_id{1};

bool bytes_of(PyObject* value, std::string* out) {
  Py_buffer view;
  if (PyObject_GetBuffer(value, &view, PyBUF_SIMPLE) < 0) return false;
  out->assign(static_cast<const char*>(view.buf), static_cast<size_t>(view.len));
  PyBuffer_Release(&view);
  return true;
}

bool text_of(PyObject* value, std::string* out) {
  Py_ssize_t length;
  const char* utf8 = PyUnicode_AsUTF8AndSize(value, &length);
  if (utf8 == nullptr) return false;
  out->assign(utf8, static_cast<size_t>(length));
  return true;
}

// A mapping of text to text or bytes.
bool mapping_of(PyObject* dict, std::unordered_map<std::string, std::string>* out, bool (*read)(PyObject*, std::string*)) {
  PyObject *key, *value;
  Py_ssize_t at = 0;
  while (PyDict_Next(dict, &at, &key, &value)) {
    std::string name, body;
    if (!text_of(key, &name) || !read(value, &body)) return false;
    out->emplace(std::move(name), std::move(body));
  }
  return true;
}

bool topics_of(PyObject* topics, std::set<std::string>* out) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(topics); ++i) {
    std::string topic;
    if (!text_of(PyTuple_GET_ITEM(topics, i), &topic)) return false;
    out->insert(std::move(topic));
  }
  return true;
}

// --- what a run came to ------------------------------------------------------------------------------------------

PyObject* decode(const std::string& text) { return PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"); }

PyObject* emits_tuple(const Message& message) {
  PyObject* all = PyTuple_New(static_cast<Py_ssize_t>(message.emits.size()));
  if (all == nullptr) return nullptr;
  Py_ssize_t at = 0;
  for (const auto& [topic, payload] : message.emits) {
    PyObject* one = Py_BuildValue("(Ny#)", decode(topic), payload.data(), static_cast<Py_ssize_t>(payload.size()));
    if (one == nullptr) {
      Py_DECREF(all);
      return nullptr;
    }
    PyTuple_SET_ITEM(all, at++, one);
  }
  return all;
}

PyObject* logs_tuple(const Message& message) {
  PyObject* all = PyTuple_New(static_cast<Py_ssize_t>(message.logs.size()));
  if (all == nullptr) return nullptr;
  Py_ssize_t at = 0;
  for (const std::string& line : message.logs) {
    PyObject* one = decode(line);
    if (one == nullptr) {
      Py_DECREF(all);
      return nullptr;
    }
    PyTuple_SET_ITEM(all, at++, one);
  }
  return all;
}

PyObject* row(const Message& message) {
  static const char* const happened[] = {"ready", "done", "ended", "asked"};
  return Py_BuildValue("(KsKNNNNLO)", static_cast<unsigned long long>(message.vm), happened[static_cast<int>(message.happened)],
                       static_cast<unsigned long long>(message.run), decode(message.outcome), decode(message.text), emits_tuple(message), logs_tuple(message),
                       static_cast<long long>(message.wall_us), message.spent ? Py_True : Py_False);
}

// --- Vm ---------------------------------------------------------------------------------------------------------

// call(run, data, spin_us): True when it is taken and the channel will tell, False when it is not, or what it came to.
PyObject* vm_call(VmObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 3) return PyErr_Format(PyExc_TypeError, "call takes run, data and spin_us");
  unsigned long long run = PyLong_AsUnsignedLongLong(args[0]);
  if (PyErr_Occurred()) return nullptr;
  long long spin_us = PyLong_AsLongLong(args[2]);
  if (PyErr_Occurred()) return nullptr;
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(args[1], view.get(), PyBUF_SIMPLE) < 0) return nullptr;
  Job job{run, std::make_shared<Lent>(std::move(view), self->vm->channel)};
  release_returned(*self->vm->channel);
  bool taken = false;
  std::optional<Message> message = self->vm->call(std::move(job), spin_us * 1000, &taken);
  return message ? row(*message) : PyBool_FromLong(taken);
}

PyObject* vm_cancel(VmObject* self, PyObject* run) {
  unsigned long long which = PyLong_AsUnsignedLongLong(run);
  if (PyErr_Occurred()) return nullptr;
  self->vm->cancel(which);
  Py_RETURN_NONE;
}

PyObject* vm_answer(VmObject* self, PyObject* args) {
  unsigned long long run;
  int good;
  Py_buffer data;
  if (!PyArg_ParseTuple(args, "Kpy*:answer", &run, &good, &data)) return nullptr;
  Answer answer{good != 0, std::string(static_cast<const char*>(data.buf), static_cast<size_t>(data.len))};
  PyBuffer_Release(&data);
  self->vm->give_answer(run, std::move(answer));
  Py_RETURN_NONE;
}

PyObject* vm_close(VmObject* self, PyObject*) {
  self->vm->close();
  Py_RETURN_NONE;
}

PyObject* vm_sample(VmObject* self, PyObject*) {
  std::vector<std::string> frames;
  bool running;
  std::shared_ptr<Vm> vm = self->vm;
  Py_BEGIN_ALLOW_THREADS;
  running = sample(*vm, &frames);
  Py_END_ALLOW_THREADS;
  PyObject* stack = PyTuple_New(running ? static_cast<Py_ssize_t>(frames.size()) : 0);
  for (Py_ssize_t i = 0; stack != nullptr && i < PyTuple_GET_SIZE(stack); ++i) {
    const std::string& text = frames[static_cast<size_t>(i)];
    PyObject* one = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
    if (one == nullptr) {
      Py_CLEAR(stack);
    } else {
      PyTuple_SET_ITEM(stack, i, one);
    }
  }
  return stack;
}

PyObject* vm_id(VmObject* self, void*) { return PyLong_FromUnsignedLongLong(self->vm->id); }
PyObject* vm_used(VmObject* self, void*) { return PyLong_FromLongLong(self->vm->account.used_bytes.load()); }
PyObject* vm_left_behind(VmObject* self, void*) { return PyBool_FromLong(self->vm->quarantined.load()); }
PyObject* vm_engine_peak(VmObject* self, void*) { return PyLong_FromLongLong(self->vm->engine->peak_bytes.load()); }
PyObject* vm_peak(VmObject* self, void*) { return PyLong_FromLongLong(self->vm->account.peak_bytes.load()); }

void vm_dealloc(VmObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  self->vm->close();
  self->vm.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyMethodDef vm_methods[] = {
    {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(vm_call)), METH_FASTCALL, "call(run, data, spin_us) -> taken, or what it came to"},
    {"cancel", reinterpret_cast<PyCFunction>(vm_cancel), METH_O, "cancel(run): kills it if it is not over"},
    {"answer", reinterpret_cast<PyCFunction>(vm_answer), METH_VARARGS, "answer(run, good, data): to what the guest asked"},
    {"sample", reinterpret_cast<PyCFunction>(vm_sample), METH_NOARGS, "sample() -> the stack of what runs, outermost first; empty when nothing does"},
    {"close", reinterpret_cast<PyCFunction>(vm_close), METH_NOARGS, "close(): ends after what was submitted"},
    {nullptr, nullptr, 0, nullptr},
};
PyGetSetDef vm_getters[] = {
    {"id", reinterpret_cast<getter>(vm_id), nullptr, "number of the VM in this process", nullptr},
    {"used_bytes", reinterpret_cast<getter>(vm_used), nullptr, "memory now", nullptr},
    {"peak_bytes", reinterpret_cast<getter>(vm_peak), nullptr, "memory at most", nullptr},
    {"left_behind", reinterpret_cast<getter>(vm_left_behind), nullptr, "whether it is in a call that does not come back", nullptr},
    {"engine_peak_bytes", reinterpret_cast<getter>(vm_engine_peak), nullptr, "memory of tensors at most", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};
PyType_Slot vm_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(vm_dealloc)}, {Py_tp_methods, vm_methods}, {Py_tp_getset, vm_getters}, {0, nullptr}};
PyType_Spec vm_spec = {"device_agent.vm._host.Vm", sizeof(VmObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, vm_slots};

// --- Channel ----------------------------------------------------------------------------------------------------

PyObject* channel_new(PyTypeObject* type, PyObject*, PyObject*) {
  auto channel = std::make_shared<Channel>();
  if (!channel->valid()) return PyErr_SetFromErrno(PyExc_OSError);
  auto* self = reinterpret_cast<ChannelObject*>(type->tp_alloc(type, 0));
  if (self != nullptr) {
    new (&self->channel) std::shared_ptr<Channel>(std::move(channel));
    new (&self->spare) std::shared_ptr<Vm>();
  }
  return reinterpret_cast<PyObject*>(self);
}

void channel_dealloc(ChannelObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  release_returned(*self->channel);
  if (self->spare != nullptr) self->spare->close();
  self->spare.~shared_ptr();
  self->channel.~shared_ptr();
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* channel_fileno(ChannelObject* self, PyObject*) { return PyLong_FromLong(self->channel->fd()); }

PyObject* channel_take(ChannelObject* self, PyObject*) {
  std::vector<Message> messages = self->channel->take();
  release_returned(*self->channel);
  PyObject* rows = PyList_New(static_cast<Py_ssize_t>(messages.size()));
  if (rows == nullptr) return nullptr;
  for (size_t i = 0; i < messages.size(); ++i) {
    PyObject* one = row(messages[i]);
    if (one == nullptr) {
      Py_DECREF(rows);
      return nullptr;
    }
    PyList_SET_ITEM(rows, static_cast<Py_ssize_t>(i), one);
  }
  return rows;
}

bool read_spec(PyObject* args, PyObject* names, Spec* spec) {
  static const char* const keywords[] = {"entry", "modules", "resources", "topics", "wall_ms", "load_ms", "cpu_ms", "memory_bytes", "engine_bytes", "output_bytes", "log_lines", nullptr};
  PyObject *modules, *resources, *topics;
  const char* entry;
  long long wall_ms, load_ms, cpu_ms, memory_bytes, engine_bytes, output_bytes, log_lines;
  if (!PyArg_ParseTupleAndKeywords(args, names, "$sO!O!O!LLLLLLL:create", const_cast<char**>(keywords), &entry, &PyDict_Type, &modules, &PyDict_Type, &resources,
                                   &PyTuple_Type, &topics, &wall_ms, &load_ms, &cpu_ms, &memory_bytes, &engine_bytes, &output_bytes, &log_lines)) {
    return false;
  }
  spec->entry = entry;
  spec->wall_ns = wall_ms * 1'000'000;
  spec->load_ns = load_ms * 1'000'000;
  spec->cpu_ns = cpu_ms * 1'000'000;
  spec->memory_bytes = memory_bytes;
  spec->engine_bytes = engine_bytes;
  spec->output_bytes = static_cast<size_t>(output_bytes);
  spec->log_lines = static_cast<size_t>(log_lines);
  return mapping_of(modules, &spec->modules, bytes_of) && mapping_of(resources, &spec->resources, text_of) && topics_of(topics, &spec->topics);
}

PyObject* channel_create(ChannelObject* self, PyTypeObject* type, PyObject* const* values, Py_ssize_t count, PyObject* names) {
  PyObject* args = PyTuple_New(0);
  PyObject* keywords = args == nullptr ? nullptr : PyDict_New();
  for (Py_ssize_t i = 0; keywords != nullptr && names != nullptr && i < PyTuple_GET_SIZE(names); ++i) {
    if (PyDict_SetItem(keywords, PyTuple_GET_ITEM(names, i), values[count + i]) < 0) Py_CLEAR(keywords);
  }
  Spec spec;
  bool read = keywords != nullptr && read_spec(args, keywords, &spec);
  Py_XDECREF(keywords);
  Py_XDECREF(args);
  if (!read) return nullptr;
  auto* state = static_cast<State*>(PyType_GetModuleState(type));
  auto* object = reinterpret_cast<VmObject*>(state->vm_type->tp_alloc(state->vm_type, 0));
  if (object == nullptr) return nullptr;
  std::string why;
  std::shared_ptr<Vm> vm = std::exchange(self->spare, nullptr);
  bool made = vm != nullptr && vm->assign(spec);
  if (!made) {
    vm = std::make_shared<Vm>(g_next_id++, self->channel);
    vm->assign(std::move(spec));
    made = installed() && start(vm, &why);
  }
  new (&object->vm) std::shared_ptr<Vm>(std::move(vm));
  if (made) return reinterpret_cast<PyObject*>(object);
  Py_DECREF(object);
  return PyErr_Format(PyExc_RuntimeError, "%s", installed() ? why.c_str() : "install() was not called");
}

// prepare(): makes a VM ahead, if there is none and the process lets it.
PyObject* channel_prepare(ChannelObject* self, PyObject*) {
  if (self->spare == nullptr && installed()) {
    auto vm = std::make_shared<Vm>(g_next_id++, self->channel);
    std::string why;
    if (start(vm, &why)) self->spare = std::move(vm);
  }
  Py_RETURN_NONE;
}

PyObject* channel_dismiss(ChannelObject* self, PyObject*) {
  if (self->spare != nullptr) self->spare->close();
  self->spare = nullptr;
  Py_RETURN_NONE;
}

PyMethodDef channel_methods[] = {
    {"dismiss", reinterpret_cast<PyCFunction>(channel_dismiss), METH_NOARGS, "dismiss(): ends the VM that was made ahead"},
    {"prepare", reinterpret_cast<PyCFunction>(channel_prepare), METH_NOARGS, "prepare(): a VM made ahead, for the next create()"},
    {"fileno", reinterpret_cast<PyCFunction>(channel_fileno), METH_NOARGS, "readable when take() has something"},
    {"take", reinterpret_cast<PyCFunction>(channel_take), METH_NOARGS, "take() -> what happened since, in order"},
    {"create", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(channel_create)), METH_METHOD | METH_FASTCALL | METH_KEYWORDS, "create(...) -> Vm"},
    {nullptr, nullptr, 0, nullptr},
};
PyType_Slot channel_slots[] = {{Py_tp_new, reinterpret_cast<void*>(channel_new)}, {Py_tp_dealloc, reinterpret_cast<void*>(channel_dealloc)}, {Py_tp_methods, channel_methods}, {0, nullptr}};
PyType_Spec channel_spec = {"device_agent.vm._host.Channel", sizeof(ChannelObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, channel_slots};

// --- the process ------------------------------------------------------------------------------------------------

PyObject* host_install(PyObject*, PyObject* args) {
  long long grace_ms;
  if (!PyArg_ParseTuple(args, "L:install", &grace_ms)) return nullptr;
  if (!install(grace_ms * 1'000'000)) {
    return PyErr_Occurred() ? nullptr : PyErr_Format(PyExc_RuntimeError, "the hooks of the VM host could not be installed");
  }
  Py_RETURN_NONE;
}

PyObject* host_set_engine(PyObject*, PyObject* capsule) {
  void* door = PyCapsule_GetPointer(capsule, work_for_name);
  if (door == nullptr) return nullptr;
  set_engine(reinterpret_cast<WorkFor>(door));
  Py_RETURN_NONE;
}

PyObject* host_installed(PyObject*, PyObject*) { return PyBool_FromLong(installed()); }

PyObject* host_set_modules(PyObject*, PyObject* args) {
  PyObject* rows;
  const char* glue;
  Py_ssize_t glue_bytes;
  if (!PyArg_ParseTuple(args, "O!y#:set_modules", &PyList_Type, &rows, &glue, &glue_bytes)) return nullptr;
  ModuleTable modules;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows); ++i) {
    const char *name, *kind, *body;
    Py_ssize_t bytes;
    int package;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(rows, i), "ssps#", &name, &kind, &package, &body, &bytes)) return nullptr;
    Kind which = kind[0] == 'p' ? Kind::python : kind[0] == 'e' ? Kind::extension : Kind::builtin;
    modules.emplace(name, Importable{which, package != 0, std::string(body, static_cast<size_t>(bytes))});
  }
  return PyBool_FromLong(set_module_table(std::move(modules), std::string(glue, static_cast<size_t>(glue_bytes))));
}

PyObject* host_freeze(PyObject*, PyObject* rows) {
  if (!PyList_Check(rows)) return PyErr_Format(PyExc_TypeError, "freeze takes a list");
  std::vector<Frozen> modules;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(rows); ++i) {
    const char *name, *code;
    Py_ssize_t bytes;
    int package;
    if (!PyArg_ParseTuple(PyList_GET_ITEM(rows, i), "sy#p", &name, &code, &bytes, &package)) return nullptr;
    modules.push_back({name, std::string(code, static_cast<size_t>(bytes)), package != 0});
  }
  freeze(std::move(modules));
  Py_RETURN_NONE;
}

PyObject* host_counters(PyObject*, PyObject*) {
  Counters now = counters();
  return Py_BuildValue("{sKsKsKsKsKsKsLsL}", "live", now.live, "created", now.created, "ended", now.ended, "killed", now.killed, "quarantined_now", now.quarantined_now,
                       "quarantined", now.quarantined, "left_bytes", static_cast<long long>(now.left_bytes), "arena_bytes",
                       static_cast<long long>(arena_bytes_mapped()));
}

PyObject* host_drain(PyObject*, PyObject* args) {
  long long timeout_ms;
  if (!PyArg_ParseTuple(args, "L:drain", &timeout_ms)) return nullptr;
  uint64_t left;
  Py_BEGIN_ALLOW_THREADS;
  left = drain(timeout_ms * 1'000'000);
  Py_END_ALLOW_THREADS;
  return PyLong_FromUnsignedLongLong(left);
}

PyMethodDef methods[] = {
    {"install", host_install, METH_VARARGS, "install(grace_ms): hooks and timekeeper, once per process"},
    {"installed", host_installed, METH_NOARGS, "whether install() was called"},
    {"set_engine", host_set_engine, METH_O, "set_engine(_core.work_for): whom a thread's tensors are charged to"},
    {"set_modules", host_set_modules, METH_VARARGS, "set_modules(rows, glue): what guests may import"},
    {"freeze", host_freeze, METH_O, "freeze(rows): what interpreters import while they are made"},
    {"counters", host_counters, METH_NOARGS, "counters() -> numbers of this process"},
    {"drain", host_drain, METH_VARARGS, "drain(timeout_ms) -> VMs that are still there"},
    {nullptr, nullptr, 0, nullptr},
};

int add_type(PyObject* module, PyType_Spec* spec, PyTypeObject** slot) {
  *slot = reinterpret_cast<PyTypeObject*>(PyType_FromModuleAndSpec(module, spec, nullptr));
  return *slot == nullptr ? -1 : PyModule_AddType(module, *slot);
}

int exec(PyObject* module) {
  auto* state = static_cast<State*>(PyModule_GetState(module));
  return add_type(module, &channel_spec, &state->channel_type) < 0 || add_type(module, &vm_spec, &state->vm_type) < 0 ? -1 : 0;
}

int traverse(PyObject* module, visitproc visit, void* arg) {
  auto* state = static_cast<State*>(PyModule_GetState(module));
  Py_VISIT(state->channel_type);
  Py_VISIT(state->vm_type);
  return 0;
}

int clear(PyObject* module) {
  auto* state = static_cast<State*>(PyModule_GetState(module));
  Py_CLEAR(state->channel_type);
  Py_CLEAR(state->vm_type);
  return 0;
}

PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(exec)}, {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED}, {0, nullptr}};
PyModuleDef module_def = {PyModuleDef_HEAD_INIT, "_host", "VMs for the main interpreter.", sizeof(State), methods, slots, traverse, clear, nullptr};

}  // namespace
}  // namespace shoal

PyMODINIT_FUNC PyInit__host() { return PyModuleDef_Init(&shoal::module_def); }
