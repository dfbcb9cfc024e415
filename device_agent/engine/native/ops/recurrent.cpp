// One direction of a recurrent layer: the steps that hang on each other. What does not (the product of all inputs with
// the weights) is a product before it.
//
// ONNX's equations: RNN; GRU with gates z, r, h; LSTM with gates i, o, f, c and peepholes i, o, f.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/op.h"

namespace shoal {

namespace {

enum class Kind : int64_t { rnn, gru, lstm };

int64_t gates_of(Kind kind) { return kind == Kind::lstm ? 4 : kind == Kind::gru ? 3 : 1; }

enum class Function : int64_t {
  sigmoid, tanh, relu, affine, leaky_relu, thresholded_relu, scaled_tanh, hard_sigmoid, elu, softsign, softplus
};

// A function of a gate, over a line of numbers: by a kernel where there is one.
struct Gate {
  Function function;
  float alpha, beta;

  void operator()(float* x, int64_t count, const Kernels& kernels) const {
    const auto n = static_cast<size_t>(count);
    const auto kernel = [&](Activation activation, float low, float high) {
      kernels.activate_line(activation, x, x, n, low, high);
    };
    switch (function) {
      case Function::sigmoid: return kernel(Activation::sigmoid, 0, 0);
      case Function::tanh: return kernel(Activation::tanh, 0, 0);
      case Function::relu: return kernel(Activation::clip, 0, std::numeric_limits<float>::infinity());
      case Function::leaky_relu: return kernel(Activation::leaky_relu, alpha, 0);
      case Function::hard_sigmoid: return kernel(Activation::hard_sigmoid, alpha, beta);
      case Function::elu: return kernel(Activation::elu, alpha, 0);
      case Function::softplus: return kernel(Activation::softplus, 0, 0);
      case Function::scaled_tanh:
        for (size_t i = 0; i < n; ++i) x[i] *= beta;
        kernel(Activation::tanh, 0, 0);
        for (size_t i = 0; i < n; ++i) x[i] *= alpha;
        return;
      case Function::affine:
        for (size_t i = 0; i < n; ++i) x[i] = alpha * x[i] + beta;
        return;
      case Function::thresholded_relu:
        for (size_t i = 0; i < n; ++i) x[i] = x[i] > alpha ? x[i] : 0;
        return;
      case Function::softsign:
        for (size_t i = 0; i < n; ++i) x[i] = x[i] / (1 + std::fabs(x[i]));
        return;
    }
  }
};

Gate gate_at(const Op& op, size_t i) {
  const size_t at = 4 + 3 * i;
  return {static_cast<Function>(op.integer(at)), static_cast<float>(op.number(at + 1)),
          static_cast<float>(op.number(at + 2))};
}

// One step of one sequence: `gates` holds the state's share and gets x's; h and c are replaced.
struct Cell {
  Kind kind;
  bool option;  // GRU: linear before reset; LSTM: input and forget gates are coupled
  float clip;
  Gate f, g, h;
  int64_t size;
  bool peepholes;  // any that is not zero
  const Kernels& kernels;

  void bound(float* x, int64_t n) const {
    if (clip > 0) kernels.activate_line(Activation::clip, x, x, static_cast<size_t>(n), -clip, clip);
  }
  void add(float* to, const float* x, int64_t n) const {
    kernels.binary_f32(Binary::add, to, 1, x, 1, to, static_cast<size_t>(n));
  }

  void rnn(float* gates, const float* x, float* state) const {
    add(gates, x, size);
    bound(gates, size);
    f(gates, size, kernels);
    std::memcpy(state, gates, static_cast<size_t>(size) * sizeof(float));
  }

  void peep(float* gate, const float* weights, const float* memory) const {
    if (!peepholes) return;
    for (int64_t i = 0; i < size; ++i) gate[i] += weights[i] * memory[i];
  }

  // Gates i, o, f, c lie one after the other.
  void lstm(float* gates, const float* x, const float* peephole, float* state, float* memory, float* room) const {
    add(gates, x, 4 * size);
    float *in = gates, *out = gates + size, *forget = gates + 2 * size, *made = gates + 3 * size;
    peep(in, peephole, memory);
    peep(forget, peephole + 2 * size, memory);
    bound(in, size);
    f(in, size, kernels);
    if (option) {
      for (int64_t i = 0; i < size; ++i) forget[i] = 1 - in[i];
    } else {
      bound(forget, size);
      f(forget, size, kernels);
    }
    bound(made, size);
    g(made, size, kernels);
    for (int64_t i = 0; i < size; ++i) memory[i] = forget[i] * memory[i] + in[i] * made[i];
    peep(out, peephole + size, memory);
    bound(out, size);
    f(out, size, kernels);
    std::memcpy(room, memory, static_cast<size_t>(size) * sizeof(float));
    h(room, size, kernels);
    for (int64_t i = 0; i < size; ++i) state[i] = out[i] * room[i];
  }
};

struct Layer {
  Tensor x, weights, extra, lengths;
  int64_t steps, batch, gates;
};

// rows (batch, width) = state (batch, size) @ weights[from..from+width]^T
void recur(const Layer& layer, const Tensor& state, int64_t from, const Tensor& rows, const Kernels& kernels) {
  const int64_t size = state.shape()[1], width = rows.shape()[1];
  const Dims& strides = layer.weights.strides();
  const Tensor w({Dtype::float32, {size, width}}, Dims{strides[1], strides[0]}, layer.weights.storage(),
                 layer.weights.data() + from * strides[0] * static_cast<int64_t>(sizeof(float)));
  matrix_product(state, w, rows, 1.0f, false, kernels);
}

// z, r, then h, which sees the state through r: before the product with the weights, or after it.
void gru_step(const Layer& layer, const Cell& cell, const Tensor& state, const Tensor& rows, const Tensor& reset,
              const Tensor& candidate, int64_t step, bool reverse, const Kernels& kernels) {
  const int64_t size = cell.size;
  const auto row_of_step = [&](int64_t b) {
    const int64_t n = layer.lengths.as<int64_t>()[b];
    return layer.x.as<float>() + ((reverse ? n - 1 - step : step) * layer.batch + b) * 3 * size;
  };
  const auto runs = [&](int64_t b) { return step < layer.lengths.as<int64_t>()[b]; };
  recur(layer, state, 0, rows, kernels);
  if (cell.option) recur(layer, state, 2 * size, candidate, kernels);
  for (int64_t b = 0; b < layer.batch; ++b) {
    if (!runs(b)) continue;
    float *gates = rows.as<float>() + b * 2 * size, *to = reset.as<float>() + b * size;
    cell.add(gates, row_of_step(b), 2 * size);
    cell.bound(gates, 2 * size);
    cell.f(gates, 2 * size, kernels);
    for (int64_t i = 0; i < size; ++i) to[i] = gates[size + i] * state.as<float>()[b * size + i];
  }
  if (!cell.option) recur(layer, reset, 2 * size, candidate, kernels);
  for (int64_t b = 0; b < layer.batch; ++b) {
    if (!runs(b)) continue;
    const float* gates = rows.as<float>() + b * 2 * size;
    float *made = candidate.as<float>() + b * size, *old = state.as<float>() + b * size;
    for (int64_t i = 0; cell.option && i < size; ++i) made[i] = gates[size + i] * (made[i] + layer.extra.as<float>()[i]);
    cell.add(made, row_of_step(b) + 2 * size, size);
    cell.bound(made, size);
    cell.g(made, size, kernels);
    for (int64_t i = 0; i < size; ++i) old[i] = (1 - gates[i]) * made[i] + gates[i] * old[i];
  }
}

}  // namespace

std::vector<Spec> infer_recurrent(const Op& op, Specs inputs) {
  for (size_t i = 0; i < 5; ++i)
    if (inputs[i].dtype != Dtype::float32) refuse_dtype(op, inputs[i].dtype, "float32");
  const int64_t code = op.integer(0);
  if (code < 0 || code > 2) throw ValueError("recurrent has no such kind");
  const Kind kind = static_cast<Kind>(code);
  const Dims& x = inputs[0].shape;
  if (x.rank() != 3 || inputs[1].shape.rank() != 2) throw ValueError("recurrent takes (steps, batch, gates)");
  const int64_t size = inputs[1].shape[1], extra = kind == Kind::rnn ? 0 : kind == Kind::gru ? size : 3 * size;
  const Dims state{x[1], size};
  if (x[2] != gates_of(kind) * size || inputs[1].shape[0] != x[2] || !(inputs[2].shape == state) ||
      !(inputs[3].shape == state) || !(inputs[4].shape == Dims{extra}) || inputs[5].dtype != Dtype::int64 ||
      !(inputs[5].shape == Dims{x[1]}))
    throw ValueError("recurrent's weights, states or lengths do not fit its inputs");
  const size_t functions = kind == Kind::lstm ? 3 : kind == Kind::gru ? 2 : 1;
  if (op.attributes.size() != 4 + 3 * functions) throw ValueError("recurrent needs its activations");
  for (size_t i = 0; i < functions; ++i)
    if (op.integer(4 + 3 * i) < 0 || op.integer(4 + 3 * i) > static_cast<int64_t>(Function::softplus))
      throw ValueError("recurrent has no such activation");
  return {{Dtype::float32, {x[0], x[1], size}}, {Dtype::float32, state}, {Dtype::float32, state}};
}

// x (steps, batch, gates*size), weights (gates*size, size), h and c (batch, size), extra (GRU's bias of h; LSTM's
// peepholes), lengths (batch) -> every state (steps, batch, size), zero past a sequence's end; the last h and c.
void execute_recurrent(const Op& op, Tensors inputs, Tensors outputs, const Kernels& kernels) {
  const Kind kind = static_cast<Kind>(op.integer(0));
  const bool lies = inputs[1].strides()[0] == 1 || inputs[1].strides()[1] == 1;  // read as it lies, turned or not
  const Layer layer{contiguous(inputs[0]), lies ? inputs[1] : contiguous(inputs[1]), contiguous(inputs[4]), contiguous(inputs[5]),
                    inputs[0].shape()[0], inputs[0].shape()[1], gates_of(kind)};
  const int64_t size = layer.weights.shape()[1];
  const bool reverse = op.integer(1) != 0;
  const size_t functions = kind == Kind::lstm ? 3 : kind == Kind::gru ? 2 : 1;
  const auto has_any = [](const Tensor& x) {
    return std::any_of(x.as<float>(), x.as<float>() + x.size(), [](float one) { return one != 0; });
  };
  const Cell cell{kind, op.integer(2) != 0, static_cast<float>(op.number(3)), gate_at(op, 0),
                  gate_at(op, std::min<size_t>(1, functions - 1)), gate_at(op, functions - 1), size,
                  kind == Kind::lstm && has_any(layer.extra), kernels};
  const Tensor &all = outputs[0], &state = outputs[1], &memory = outputs[2];
  copy_elements(inputs[2], state);
  copy_elements(inputs[3], memory);
  std::memset(all.data(), 0, static_cast<size_t>(all.spec().bytes()));
  for (int64_t b = 0; b < layer.batch; ++b)
    if (layer.lengths.as<int64_t>()[b] < 0 || layer.lengths.as<int64_t>()[b] > layer.steps)
      throw ValueError("a sequence is longer than its input");
  const int64_t width = kind == Kind::gru ? 2 * size : layer.gates * size;
  const Tensor rows({Dtype::float32, {layer.batch, width}});
  const Tensor reset({Dtype::float32, {layer.batch, size}}), candidate({Dtype::float32, {layer.batch, size}});
  std::memset(reset.data(), 0, static_cast<size_t>(reset.spec().bytes()));
  for (int64_t step = 0; step < layer.steps; ++step) {
    if (kind == Kind::gru) gru_step(layer, cell, state, rows, reset, candidate, step, reverse, kernels);
    else recur(layer, state, 0, rows, kernels);
    for (int64_t b = 0; b < layer.batch; ++b) {
      const int64_t n = layer.lengths.as<int64_t>()[b], at = reverse ? n - 1 - step : step;
      if (step >= n) continue;
      const float* x = layer.x.as<float>() + (at * layer.batch + b) * layer.gates * size;
      float *h = state.as<float>() + b * size, *c = memory.as<float>() + b * size;
      if (kind == Kind::rnn) cell.rnn(rows.as<float>() + b * width, x, h);
      if (kind == Kind::lstm)
        cell.lstm(rows.as<float>() + b * width, x, layer.extra.as<float>(), h, c, candidate.as<float>());
      std::memcpy(all.as<float>() + (at * layer.batch + b) * size, h, static_cast<size_t>(size) * sizeof(float));
    }
  }
}

}  // namespace shoal
