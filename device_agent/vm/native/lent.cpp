#include "lent.h"

#include "vm.h"

namespace shoal {
namespace {

struct LentObject {
  PyObject_HEAD
  Vm* vm;
  std::list<std::shared_ptr<Lent>>::iterator held;
};

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Lent& lent = **reinterpret_cast<LentObject*>(self)->held;
  return PyBuffer_FillInfo(view, self, const_cast<void*>(lent.data()), lent.size(), 1, flags);
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  Vm& vm = *reinterpret_cast<LentObject*>(self)->vm;
  auto held = reinterpret_cast<LentObject*>(self)->held;
  charge(&vm.account, -(*held)->size());
  vm.lent.erase(held);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(dealloc)}, {Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)}, {0, nullptr}};
PyType_Spec spec = {"shoal_task.Lent", sizeof(LentObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};

}  // namespace

PyObject* make_lent_type() { return PyType_FromSpec(&spec); }

PyObject* view_of(Vm& vm, std::shared_ptr<Lent> lent) {
  auto* type = reinterpret_cast<PyTypeObject*>(vm.lent_type);
  auto* object = reinterpret_cast<LentObject*>(type->tp_alloc(type, 0));
  if (object == nullptr) return nullptr;
  charge(&vm.account, lent->size());
  object->vm = &vm;
  object->held = vm.lent.insert(vm.lent.end(), std::move(lent));
  PyObject* view = PyMemoryView_FromObject(reinterpret_cast<PyObject*>(object));
  Py_DECREF(object);
  return view;
}

void release_returned(Channel& channel) {
  for (void* returned : channel.take_returned()) {
    std::unique_ptr<Py_buffer> view(static_cast<Py_buffer*>(returned));
    PyBuffer_Release(view.get());
  }
}

}  // namespace shoal
