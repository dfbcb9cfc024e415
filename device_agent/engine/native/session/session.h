// A plan that runs: its arena, and its commands with every operand in place.
//
// Rules: the constructor checks everything a plan says (each view against its space, each operator against what the op
// set infers, each raster region against both its tensors), so that a wrong plan is refused and never runs. `run` allocates
// nothing but its outputs; one thread at a time runs a session. Constants (packed weights too) are computed once for all
// sessions of a plan in the process.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/op.h"
#include "session/kernel_command.h"
#include "session/plan.h"
#include "threads/pool.h"
#include "session/raster.h"

namespace shoal {

// The bytes are no plan, or one that cannot be.
struct PlanInvalid : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Command {
  const OpRow* row = nullptr;  // null: a raster, or a kernel's call
  KernelCall call;
  Op op;
  std::vector<Tensor> inputs, outputs;
  Raster raster;
};

class Session {
 public:
  // `words` is copied; `weights` is the model file, which the session keeps. Packed weights are for these kernels.
  Session(const void* words, size_t bytes, const Tensor& weights, const Kernels& kernels, int threads);

  std::vector<Tensor> run(Tensors inputs);
  int64_t arena_bytes() const { return header_.arena_bytes; }
  size_t commands() const { return commands_.size(); }
  const std::vector<Tensor>& inputs() const { return inputs_; }
  // Nanoseconds that each command took in one run, in order; for tools.
  std::vector<int64_t> profile(Tensors inputs);

 private:
  friend class PlanReader;

  static std::shared_ptr<struct Constants> shared_constants(const Session& session);
  void take(Tensors inputs);
  void execute(const Command& command) const;

  const Kernels& kernels_;
  std::unique_ptr<Pool> pool_;
  std::shared_ptr<struct Constants> constants_;

  plan::Header header_{};
  std::shared_ptr<std::byte> plan_, arena_, kept_;
  Tensor weights_;
  std::vector<Tensor> inputs_, outputs_;
  std::vector<bool> fixed_;  // an output that does not change from run to run
  std::vector<Command> commands_;
  std::mutex running_;
};

}  // namespace shoal
