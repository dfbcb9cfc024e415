// One direction of a recurrent layer: the steps that hang on each other. What does not (the product of all inputs with
// the weights) is a product before it.
//
// ONNX's equations: RNN; GRU with gates z, r, h; LSTM with gates i, o, f, c and peepholes i, o, f.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ops/op.h"

namespace shoal {

namespace {

enum class Kind : int64_t { rnn, gru, lstm };

int64_t gates_of(Kind kind) { return kind == Kind::lstm ? 4 : kind == Kind::gru ? 3 : 1; }

enum class Function : int64_t {
  sigmoid, tanh, relu, affine, leaky_relu, thresholded_relu, scaled_tanh, hard_sigmoid, elu, softsign, softplus
};

struct Activation {
  Function function;
  float alpha, beta;

  float operator()(float x) const {
    switch (function) {
      case Function::sigmoid: return 1 / (1 + std::exp(-x));
      case Function::tanh: return std::tanh(x);
      case Function::relu: return std::max(x, 0.0f);
      case Function::affine: return alpha * x + beta;
      case Function::leaky_relu: return x < 0 ? alpha * x : x;
      case Function::thresholded_relu: return x > alpha ? x : 0;
      case Function::scaled_tanh: return alpha * std::tanh(beta * x);
      case Function::hard_sigmoid: return std::clamp(alpha * x + beta, 0.0f, 1.0f);
      case Function::elu: return x < 0 ? alpha * (std::exp(x) - 1) : x;
      case Function::softsign: return x / (1 + std::fabs(x));
      default: return std::log1p(std::exp(x));
    }
  }
};

Activation activation_at(const Op& op, size_t i) {
  const size_t at = 4 + 3 * i;
  return {static_cast<Function>(op.integer(at)), static_cast<float>(op.number(at + 1)),
          static_cast<float>(op.number(at + 2))};
}

// One step of one sequence: gates hold x's share, h and c the state; h and c are replaced.
struct Cell {
  Kind kind;
  bool option;  // GRU: linear before reset; LSTM: input and forget gates are coupled
  float clip;
  Activation f, g, h;
  int64_t size;

  float bounded(float x) const { return clip > 0 ? std::clamp(x, -clip, clip) : x; }

  void rnn(const float* gates, const float* recurrent, float* state) const {
    for (int64_t i = 0; i < size; ++i) state[i] = f(bounded(gates[i] + recurrent[i]));
  }

  void lstm(const float* gates, const float* recurrent, const float* peephole, float* state, float* memory) const {
    const auto gate = [&](int64_t k, int64_t i) { return gates[k * size + i] + recurrent[k * size + i]; };
    for (int64_t i = 0; i < size; ++i) {
      const float in = f(bounded(gate(0, i) + peephole[i] * memory[i]));
      const float forget = option ? 1 - in : f(bounded(gate(2, i) + peephole[2 * size + i] * memory[i]));
      memory[i] = forget * memory[i] + in * g(bounded(gate(3, i)));
      state[i] = f(bounded(gate(1, i) + peephole[size + i] * memory[i])) * h(memory[i]);
    }
  }
};

struct Layer {
  Tensor x, weights, extra, lengths;
  int64_t steps, batch, gates;
};

// rows (batch, width) = state (batch, size) @ weights[from..from+width]^T
void recur(const Layer& layer, const Tensor& state, int64_t from, const Tensor& rows, const Kernels& kernels) {
  const int64_t size = state.shape()[1], width = rows.shape()[1];
  const Tensor w({Dtype::float32, {size, width}}, Dims{1, size}, layer.weights.storage(),
                 layer.weights.data() + from * size * 4);
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
  for (int64_t b = 0; b < layer.batch; ++b)
    for (int64_t i = 0; runs(b) && i < size; ++i) {
      const float* x = row_of_step(b);
      float* r = rows.as<float>() + b * 2 * size;
      r[i] = cell.f(cell.bounded(x[i] + r[i]));
      r[size + i] = cell.f(cell.bounded(x[size + i] + r[size + i]));
      reset.as<float>()[b * size + i] = r[size + i] * state.as<float>()[b * size + i];
    }
  if (!cell.option) recur(layer, reset, 2 * size, candidate, kernels);
  for (int64_t b = 0; b < layer.batch; ++b)
    for (int64_t i = 0; runs(b) && i < size; ++i) {
      const float z = rows.as<float>()[b * 2 * size + i], r = rows.as<float>()[b * 2 * size + size + i];
      const float part = candidate.as<float>()[b * size + i];
      const float share = cell.option ? r * (part + layer.extra.as<float>()[i]) : part;
      const float made = cell.g(cell.bounded(row_of_step(b)[2 * size + i] + share));
      float& old = state.as<float>()[b * size + i];
      old = (1 - z) * made + z * old;
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
  const Layer layer{contiguous(inputs[0]), contiguous(inputs[1]), contiguous(inputs[4]), contiguous(inputs[5]),
                    inputs[0].shape()[0], inputs[0].shape()[1], gates_of(kind)};
  const int64_t size = layer.weights.shape()[1];
  const bool reverse = op.integer(1) != 0;
  const size_t functions = kind == Kind::lstm ? 3 : kind == Kind::gru ? 2 : 1;
  const Cell cell{kind, op.integer(2) != 0, static_cast<float>(op.number(3)), activation_at(op, 0),
                  activation_at(op, std::min<size_t>(1, functions - 1)), activation_at(op, functions - 1), size};
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
      if (kind == Kind::rnn) cell.rnn(x, rows.as<float>() + b * width, h);
      if (kind == Kind::lstm) cell.lstm(x, rows.as<float>() + b * width, layer.extra.as<float>(), h, c);
      std::memcpy(all.as<float>() + (at * layer.batch + b) * size, h, static_cast<size_t>(size) * sizeof(float));
    }
  }
}

}  // namespace shoal
