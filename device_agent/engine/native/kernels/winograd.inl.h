// Winograd's transforms over Simd<float, N>. Included by kernels/table.inl.h, once a level.
//
// Points come in pairs p, -p, whose rows differ in the sign of odd powers only: both are made from one even and one odd
// sum. Coefficients are known at compile time, so that zeros cost nothing.

namespace shoal {
namespace {

// Coefficients of the product of (x^2 - p^2) over the pairs of points but pair `without`: x^0, x^2, x^4, ...
template <int Pairs>
struct EvenProduct {
  double at[Pairs + 1] = {};
  constexpr explicit EvenProduct(int without) {
    at[0] = 1;
    int degree = 0;
    for (int pair = 0; pair < Pairs; ++pair) {
      if (pair == without) continue;
      const double p = winograd_point(2 * pair + 1);
      ++degree;
      for (int i = degree; i >= 0; --i) at[i] = (i > 0 ? at[i - 1] : 0.0) - p * p * at[i];
    }
  }
};

template <int N>
inline void add_times(Simd<float, N>& sum, Simd<float, N> x, double coefficient) {
  using F = Simd<float, N>;
  if (coefficient == 0) return;
  sum = coefficient == 1 ? sum + x : sum + x * F::fill(static_cast<float>(coefficient));
}

// v = B' d, one line of `Side` vectors.
template <int N, int Side>
inline void in_line(const Simd<float, N> (&d)[Side], Simd<float, N> (&v)[Side]) {
  using F = Simd<float, N>;
  constexpr int pairs = (Side - 2) / 2;
  constexpr EvenProduct<pairs> all(-1);
  F first = F::fill(0.0f), last = F::fill(0.0f);
#pragma GCC unroll 8
  for (int i = 0; i <= pairs; ++i) {
    add_times(first, d[2 * i], all.at[i]);
    add_times(last, d[2 * i + 1], all.at[i]);
  }
  v[0] = first;
  v[Side - 1] = last;
#pragma GCC unroll 8
  for (int pair = 0; pair < pairs; ++pair) {
    const EvenProduct<pairs> others(pair);
    const double p = winograd_point(2 * pair + 1);
    F even = F::fill(0.0f), odd = F::fill(0.0f);
#pragma GCC unroll 8
    for (int i = 0; i < pairs; ++i) {
      add_times(even, d[2 * i + 2], others.at[i]);
      add_times(odd, d[2 * i + 1], p * others.at[i]);
    }
    v[2 * pair + 1] = even + odd;
    v[2 * pair + 2] = even - odd;
  }
}

// y = A' m, one line: `Side` vectors become `Unit`.
template <int N, int Side, int Unit>
inline void out_line(const Simd<float, N> (&m)[Side], Simd<float, N> (&y)[Unit]) {
  using F = Simd<float, N>;
  constexpr int pairs = (Side - 2) / 2;
  F sums[pairs], differences[pairs];
#pragma GCC unroll 8
  for (int pair = 0; pair < pairs; ++pair) {
    sums[pair] = m[2 * pair + 1] + m[2 * pair + 2];
    differences[pair] = m[2 * pair + 1] - m[2 * pair + 2];
  }
#pragma GCC unroll 8
  for (int j = 0; j < Unit; ++j) {
    F sum = j == 0 ? m[0] : F::fill(0.0f);
#pragma GCC unroll 8
    for (int pair = 0; pair < pairs; ++pair) {
      double power = 1;
      for (int i = 0; i < j; ++i) power *= winograd_point(2 * pair + 1);
      add_times(sum, j % 2 == 0 ? sums[pair] : differences[pair], power);
    }
    if (j == Unit - 1) sum = sum + m[Side - 1];
    y[j] = sum;
  }
}

template <int N, int Side>
void winograd_in(const WinogradIn& w) {
  using F = Simd<float, N>;
  F half[Side][Side];
  const bool whole = w.first_row == 0 && w.first_column == 0 && w.end_row == Side && w.end_column == Side;
#pragma GCC unroll 8
  for (int x = 0; x < Side; ++x) {
    F d[Side], v[Side];
#pragma GCC unroll 8
    for (int y = 0; y < Side; ++y) {
      const bool inside =
          whole || (y >= w.first_row && y < w.end_row && x >= w.first_column && x < w.end_column);
      d[y] = inside ? F::load(w.in + y * w.row + x * w.pixel) : F::fill(0.0f);
    }
    in_line<N, Side>(d, v);
#pragma GCC unroll 8
    for (int i = 0; i < Side; ++i) half[i][x] = v[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < Side; ++i) {
    F v[Side];
    in_line<N, Side>(half[i], v);
#pragma GCC unroll 8
    for (int j = 0; j < Side; ++j) v[j].store(w.to + (i * Side + j) * w.to_point);
  }
}

template <int N, int Side, int Unit>
void winograd_out(const WinogradOut& w) {
  using F = Simd<float, N>;
  F half[Unit][Side];
#pragma GCC unroll 8
  for (int j = 0; j < Side; ++j) {
    F m[Side], y[Unit];
#pragma GCC unroll 8
    for (int i = 0; i < Side; ++i) m[i] = F::load(w.from + (i * Side + j) * w.from_point);
    out_line<N, Side, Unit>(m, y);
#pragma GCC unroll 8
    for (int i = 0; i < Unit; ++i) half[i][j] = y[i];
  }
  const F bias = F::load(w.bias), low = F::fill(w.low), high = F::fill(w.high);
#pragma GCC unroll 8
  for (int i = 0; i < Unit; ++i) {
    if (i >= w.rows) break;
    F y[Unit];
    out_line<N, Side, Unit>(half[i], y);
#pragma GCC unroll 8
    for (int j = 0; j < Unit; ++j) {
      if (j >= w.columns) break;
      F made = y[j] + bias;
      if (w.residual != nullptr) made = made + F::load(w.residual + i * w.residual_row + j * w.residual_pixel);
      if (w.activation == Activation::clip) made = smaller(larger(made, low), high);
      made.store(w.out + i * w.row + j * w.pixel);
    }
  }
  if (w.activation > Activation::clip)
    for (int i = 0; i < w.rows; ++i)
      for (int j = 0; j < w.columns; ++j) {
        float* at = w.out + i * w.row + j * w.pixel;
        activate_line<N>(w.activation, at, at, N, w.low, w.high);
      }
}

// By side (4, 6, 8) and, for results, unit: null where there is none.
using WinogradInKernel = void (*)(const WinogradIn&);
using WinogradOutKernel = void (*)(const WinogradOut&);

template <int N>
WinogradInKernel winograd_in_of(int side) {
  return side == 4 ? winograd_in<N, 4> : side == 6 ? winograd_in<N, 6> : side == 8 ? winograd_in<N, 8> : nullptr;
}

template <int N>
WinogradOutKernel winograd_out_of(int side, int unit) {
  switch (10 * side + unit) {
    case 42: return winograd_out<N, 4, 2>;
    case 64: return winograd_out<N, 6, 4>;
    case 62: return winograd_out<N, 6, 2>;
    case 86: return winograd_out<N, 8, 6>;
    case 84: return winograd_out<N, 8, 4>;
    default: return nullptr;
  }
}

}  // namespace
}  // namespace shoal
