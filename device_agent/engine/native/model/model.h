// A compiled model: immutable, shared by every interpreter of the process.
//
// Rules: a Model exists only when its whole file was checked. `run` changes nothing in it and may run in many threads at
// once. Intermediate results lie in one arena a run, planned from when each is last used.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/format.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace shoal {

// The file is damaged, cut short or cannot be: MODEL_INVALID.
struct ModelInvalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// The file is of another version or op set, or needs an operator that is not here: MODEL_UNSUPPORTED.
struct ModelUnsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Value {
  std::string name;
  file::Kind kind = file::Kind::computed;
  Spec spec;              // of an input (first axis -1: any) or constant
  Tensor constant;
};

struct Node {
  Op op;
  std::vector<uint32_t> inputs;
  uint32_t output = 0;
};

struct Port {
  std::string name;
  Spec spec;  // first axis -1: goes with the batch
};

class Model {
 public:
  // Checks everything. `bytes` stays alive as long as the model does.
  Model(std::shared_ptr<std::byte> bytes, size_t size);

  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  std::vector<Tensor> run(Tensors inputs, const Kernels& kernels) const;

 private:
  friend class Reader;

  std::vector<Spec> infer_all(const std::vector<Spec>& inputs) const;
  void describe_ports();
  void check_inputs(Tensors inputs) const;

  std::vector<Value> values_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> input_values_, output_values_;
  std::vector<size_t> last_use_;  // node after which a value is not needed; nodes_.size() for outputs
  std::vector<Port> inputs_, outputs_;
};

// Offsets of computed values in one arena: first fit among what is alive. `sizes[v]` is zero for what needs no room.
struct Arena {
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
};
Arena plan_arena(const std::vector<Node>& nodes, const std::vector<size_t>& last_use,
                 const std::vector<int64_t>& sizes);

// One mapping of a file for the whole process, alive while anybody holds the model.
std::shared_ptr<const Model> load_model(const char* path);
std::shared_ptr<const Model> parse_model(const void* bytes, size_t size);  // copies; not shared

}  // namespace shoal
