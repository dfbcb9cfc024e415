// A compiled model's file: checked, mapped once for the process, lent as bytes.
#pragma once

#include <stdexcept>

#include "model/format.h"
#include "tensor/tensor.h"

namespace shoal {

// The file is damaged, cut short or cannot be: MODEL_INVALID.
struct ModelInvalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The file is of another version or op set: MODEL_UNSUPPORTED.
struct ModelUnsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The whole file as a uint8 tensor. ModelInvalid, ModelUnsupported, std::system_error.
Tensor map_model(const char* path);
Tensor check_model(const void* bytes, size_t size);  // a copy; not shared

}  // namespace shoal
