// Shapes, memory and execution of one run.
#include <algorithm>
#include <list>

#include "model/model.h"

namespace shoal {

namespace {

Spec with_batch(Spec spec, int64_t batch) {
  if (spec.shape.rank() > 0 && spec.shape[0] == -1) spec.shape[0] = batch;
  return spec;
}

}  // namespace

std::vector<Spec> Model::infer_all(const std::vector<Spec>& inputs) const {
  std::vector<Spec> specs(values_.size());
  for (size_t v = 0; v < values_.size(); ++v) specs[v] = values_[v].spec;
  for (size_t i = 0; i < inputs.size(); ++i) specs[input_values_[i]] = inputs[i];
  std::vector<Spec> given;
  for (const Node& node : nodes_) {
    given.clear();
    for (uint32_t value : node.inputs) given.push_back(specs[value]);
    specs[node.output] = infer(node.op, given);
  }
  return specs;
}

// What goes with the batch is found by trying two sizes of it.
void Model::describe_ports() {
  const auto with = [this](int64_t batch) {
    std::vector<Spec> inputs;
    for (uint32_t value : input_values_) inputs.push_back(with_batch(values_[value].spec, batch));
    return infer_all(inputs);
  };
  const std::vector<Spec> one = with(1), three = with(3);
  for (uint32_t value : input_values_) inputs_.push_back({values_[value].name, values_[value].spec});
  for (uint32_t value : output_values_) {
    Spec spec = one[value];
    if (spec.shape.rank() != three[value].shape.rank()) throw ValueError("an output's axes go with the batch");
    for (int i = 0; i < spec.shape.rank(); ++i)
      if (spec.shape[i] != three[value].shape[i]) spec.shape[i] = -1;
    outputs_.push_back({values_[value].name, spec});
  }
}

void Model::check_inputs(Tensors inputs) const {
  if (inputs.size() != inputs_.size())
    throw ValueError("the model takes " + std::to_string(inputs_.size()) + " inputs, not " +
                     std::to_string(inputs.size()));
  int64_t batch = -1;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Port& port = inputs_[i];
    const Dims& shape = inputs[i].shape();
    if (inputs[i].dtype() != port.spec.dtype)
      throw DtypeError("input '" + port.name + "' is " + name_of(port.spec.dtype) + ", not " +
                       name_of(inputs[i].dtype()));
    const bool open = port.spec.shape.rank() > 0 && port.spec.shape[0] == -1 && shape.rank() > 0;
    if (open && batch < 0) batch = shape[0];
    if (!(with_batch(port.spec, batch).shape == shape))
      throw ValueError("input '" + port.name + "' has shape " + text_of(port.spec.shape) + " (-1: the batch), not " +
                       text_of(shape));
  }
}

Arena plan_arena(const std::vector<Node>& nodes, const std::vector<size_t>& last_use,
                 const std::vector<int64_t>& sizes) {
  struct Block {
    int64_t start, end;
    size_t last;
  };
  Arena arena;
  arena.offsets.assign(sizes.size(), 0);
  std::list<Block> alive;  // in order of start
  for (size_t n = 0; n < nodes.size(); ++n) {
    alive.remove_if([n](const Block& block) { return block.last < n; });
    const uint32_t value = nodes[n].output;
    if (sizes[value] == 0) continue;
    const int64_t room = (sizes[value] + static_cast<int64_t>(alignment) - 1) & ~(static_cast<int64_t>(alignment) - 1);
    int64_t start = 0;
    auto next = alive.begin();
    for (; next != alive.end() && next->start < start + room; ++next) start = std::max(start, next->end);
    alive.insert(next, {start, start + room, last_use[value]});
    arena.offsets[value] = start;
    arena.bytes = std::max(arena.bytes, start + room);
  }
  return arena;
}

std::vector<Tensor> Model::run(Tensors inputs, const Kernels& kernels) const {
  check_inputs(inputs);
  std::vector<Spec> given;
  for (const Tensor& input : inputs) given.push_back(input.spec());
  const std::vector<Spec> specs = infer_all(given);

  std::vector<int64_t> sizes(values_.size(), 0);
  for (const Node& node : nodes_)
    if (last_use_[node.output] < nodes_.size()) sizes[node.output] = specs[node.output].bytes();
  const Arena arena = plan_arena(nodes_, last_use_, sizes);
  const std::shared_ptr<std::byte> room = allocate(arena.bytes);

  std::vector<Tensor> tensors(values_.size());
  for (size_t v = 0; v < values_.size(); ++v)
    if (values_[v].kind == file::Kind::constant) tensors[v] = values_[v].constant;
  for (size_t i = 0; i < inputs.size(); ++i) tensors[input_values_[i]] = inputs[i];
  std::vector<Tensor> operands;
  KillWatch watch;
  for (const Node& node : nodes_) {
    watch.look();
    operands.clear();
    for (uint32_t value : node.inputs) operands.push_back(tensors[value]);
    const bool kept = last_use_[node.output] == nodes_.size();
    Tensor& out = tensors[node.output];
    out = kept ? Tensor(specs[node.output])
               : Tensor(specs[node.output], room, room.get() + arena.offsets[node.output]);
    if (out.size() > 0) row_of(static_cast<uint16_t>(node.op.id))->execute(node.op, operands, out, kernels);
  }
  std::vector<Tensor> outputs;
  for (uint32_t value : output_values_) outputs.push_back(tensors[value]);
  return outputs;
}

}  // namespace shoal
