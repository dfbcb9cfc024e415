// Bytes of the main interpreter that a VM reads where they lie: an event is not copied on its way in.
//
// - What is lent is a buffer that the main interpreter exported. It is given back through the channel, because only the
//   main interpreter may release it; that happens when the channel is next read, and nobody is woken for it.
// - The guest holds it through an object of its own, which is charged to its VM for as long as it lives. What a guest
//   still holds when its interpreter has ended is given back then: nobody is left to read it.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>

#include "channel.h"

namespace shoal {

struct Vm;

class Lent {
 public:
  // Takes `view` over.
  Lent(std::unique_ptr<Py_buffer> view, std::shared_ptr<Channel> channel) : view_(std::move(view)), channel_(std::move(channel)) {}
  ~Lent() { channel_->give_back(view_.release()); }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

  const void* data() const { return view_->buf; }
  Py_ssize_t size() const { return view_->len; }

 private:
  std::unique_ptr<Py_buffer> view_;
  std::shared_ptr<Channel> channel_;
};

// The type of the guest's object, for this interpreter.
PyObject* make_lent_type();

// A memoryview of it, read-only; only on the VM's own thread.
PyObject* view_of(Vm& vm, std::shared_ptr<Lent> lent);

// Releases what was given back; in the main interpreter, with its GIL.
void release_returned(Channel& channel);

}  // namespace shoal
