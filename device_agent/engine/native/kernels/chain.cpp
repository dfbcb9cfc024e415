#include "kernels/chain.h"

#include <array>
#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t alone_results = 16 * 1024;  // of all steps: as many or fewer are not worth a second thread
constexpr size_t floats_in_piece = 32 * 1024;
constexpr size_t registers_max = chain_inputs_max + chain_steps_max;

bool is_binary(ChainOp op) { return op <= ChainOp::minimum; }

bool has_power(const ChainStep& step) {
  const float quarters = 4 * step.low;
  return quarters >= 1 && quarters <= power_quarters_max && quarters == static_cast<float>(static_cast<int>(quarters));
}

// The registers of one worker: what is read from memory as it lies needs no copy.
struct Registers {
  alignas(64) std::array<std::array<float, chain_run>, registers_max> rooms;
  std::array<const float*, registers_max> at;
  std::array<size_t, chain_inputs_max> repeats_of{};  // of inputs that are the same in every run: the outer index + 1
};

// Whether every whole run of one outer index sees the same of an input: a number, or a row that fits a run some times.
bool repeats(const ChainInput& input, size_t begin, size_t n, size_t inner) {
  return input.middle == 0 && n == chain_run && (input.inner == 0 || (chain_run % inner == 0 && begin % inner == 0));
}

// Whether `middle` and `inner` are one axis for every input.
bool joins(const Chain& chain) {
  for (const ChainInput& input : chain.inputs)
    if (input.middle != input.inner * static_cast<ptrdiff_t>(chain.inner)) return false;
  return true;
}

// Elements begin .. begin + n of input i, over (middle, inner) of one outer index.
const float* fetched(const ChainInput& input, ptrdiff_t outer, size_t begin, size_t n, size_t inner, float* room) {
  const float* from = input.at + outer * input.outer;
  const auto step = static_cast<ptrdiff_t>(inner);
  auto at = static_cast<ptrdiff_t>(begin);
  if (input.inner == 1 && (input.middle == step || at % step + static_cast<ptrdiff_t>(n) <= step))
    return from + at / step * input.middle + at % step;
  for (size_t done = 0; done < n;) {
    const ptrdiff_t column = at % step;
    const size_t part = std::min(n - done, static_cast<size_t>(step - column));
    const float* of_row = from + at / step * input.middle;
    if (input.inner == 1) std::memcpy(room + done, of_row + column, part * sizeof(float));
    else std::fill_n(room + done, part, *of_row);
    done += part;
    at += static_cast<ptrdiff_t>(part);
  }
  return room;
}

// All steps over n elements; the last writes to `out`.
void run_steps(const Chain& chain, Registers& registers, float* out, size_t n, const Kernels& kernels) {
  const size_t last = chain.steps.size() - 1;
  for (size_t i = 0; i <= last; ++i) {
    const ChainStep& step = chain.steps[i];
    float* to = i == last ? out : registers.rooms[step.to].data();
    kernels.chain_step(step, registers.at[step.a], is_binary(step.op) ? registers.at[step.b] : nullptr, to, n);
    registers.at[step.to] = to;
  }
}

}  // namespace

bool chain_fits(const Chain& chain) {
  if (chain.inputs.empty() || chain.inputs.size() > chain_inputs_max || chain.steps.empty() ||
      chain.steps.size() > chain_steps_max)
    return false;
  for (const ChainInput& input : chain.inputs)
    if (input.inner != 0 && input.inner != 1) return false;
  uint32_t written = (1u << chain.inputs.size()) - 1;
  for (const ChainStep& step : chain.steps) {
    const auto has = [&](uint8_t at) { return at < registers_max && (written >> at & 1) != 0; };
    if (!has(step.a) || (is_binary(step.op) && !has(step.b))) return false;
    if (step.op == ChainOp::power && !has_power(step)) return false;
    if (step.to < chain.inputs.size() || step.to >= registers_max) return false;
    written |= 1u << step.to;
  }
  return true;
}

bool run_chain(const Chain& asked, const Run& all) {
  Chain chain = asked;
  if (joins(chain)) {
    chain.inner *= chain.middle;
    chain.middle = 1;
  }
  const size_t plane = chain.middle * chain.inner;
  if (plane * chain.outer == 0) return true;
  const size_t results = plane * chain.outer;
  const Run run = results * chain.steps.size() <= alone_results ? all.alone() : all;
  const size_t by_threads = pieces_of(results, static_cast<size_t>(run.threads()) * pieces_a_thread);
  const size_t in_piece = run.threads() == 1 ? floats_in_piece : std::clamp(by_threads, chain_run, floats_in_piece);
  const size_t of_piece = std::min(plane, in_piece), chunks = pieces_of(plane, of_piece);
  const size_t together = std::max<size_t>(1, in_piece / plane);  // short outer indices share a piece
  const size_t outers = pieces_of(chain.outer, together);
  // Elementwise operations are exact whether they are chained or not.
  return share<Denormals::kept>(run, outers * chunks, [&](size_t index, int) {
    Registers registers;
    const size_t first = index / chunks * together, begin = index % chunks * of_piece;
    for (size_t outer = first; outer < std::min(first + together, chain.outer); ++outer)
      for (size_t at = begin; at < std::min(begin + of_piece, plane); at += chain_run) {
        const size_t n = std::min({chain_run, plane - at, begin + of_piece - at});
        for (size_t i = 0; i < chain.inputs.size(); ++i) {
          const bool same = repeats(chain.inputs[i], at, n, chain.inner);
          if (same && registers.repeats_of[i] == outer + 1) continue;
          registers.at[i] = fetched(chain.inputs[i], static_cast<ptrdiff_t>(outer), at, n, chain.inner,
                                    registers.rooms[i].data());
          registers.repeats_of[i] = same ? outer + 1 : 0;
        }
        run_steps(chain, registers, chain.out + outer * plane + at, n, run.kernels);
      }
  });
}

}  // namespace shoal
