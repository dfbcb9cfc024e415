// The discrete Fourier transform of complex numbers, which lie as (..., n, 2): real part, imaginary part.
//
// Any length: mixed radix over 2, 3 and 5 where n has no other factors (Stockham: each pass reads one buffer and writes
// the other, in order, so nothing is permuted at the end); else Bluestein's algorithm, which makes the transform of length
// n a convolution of a length that has (L. Bluestein, "A linear filtering approach to the computation of the discrete
// Fourier transform", 1970). Twiddles are computed in double, sums run in double: errors stay near one float ulp.
#include <cmath>
#include <complex>
#include <memory>
#include <numbers>
#include <utility>

#include "ops/op.h"

namespace shoal {

namespace {

using Complex = std::complex<double>;

// Complex numbers in memory that the run is charged for, all zero at first.
class Line {
 public:
  explicit Line(int64_t n) : n_(n), held_(allocate(n * static_cast<int64_t>(sizeof(Complex)))) {
    in_pieces(n, [this](int64_t at, int64_t count) { std::uninitialized_value_construct_n(begin() + at, count); });
  }
  Complex* begin() const { return reinterpret_cast<Complex*>(held_.get()); }
  Complex& operator[](int64_t k) const { return begin()[k]; }
  int64_t size() const { return n_; }

 private:
  int64_t n_;
  std::shared_ptr<std::byte> held_;
};

// f(k) for each k below n, in pieces.
template <typename F>
void each(int64_t n, const F& f) {
  in_pieces(n, [&](int64_t at, int64_t count) {
    for (int64_t k = at; k < at + count; ++k) f(k);
  });
}

Complex turn(int64_t k, int64_t n) {
  const double angle = -2.0 * std::numbers::pi * static_cast<double>(k % n) / static_cast<double>(n);
  return {std::cos(angle), std::sin(angle)};
}

bool smooth(int64_t n) {
  for (int64_t factor : {2, 3, 5})
    while (n % factor == 0) n /= factor;
  return n == 1;
}

// Twiddle factors of one length, and the scratch that its transforms share.
class Smooth {
 public:
  explicit Smooth(int64_t n) : n_(n), turns_(n), other_(n) {
    each(n, [this](int64_t k) { turns_[k] = turn(k, n_); });
  }

  // In place, forward.
  void run(Line& x) {
    int64_t stride = 1;
    for (int64_t left = n_; left > 1;) {
      const int64_t radix = left % 4 == 0 ? 4 : left % 2 == 0 ? 2 : left % 3 == 0 ? 3 : 5;
      left /= radix;
      switch (radix) {
        case 2: pass<2>(x.begin(), other_.begin(), left, stride); break;
        case 3: pass<3>(x.begin(), other_.begin(), left, stride); break;
        case 4: pass<4>(x.begin(), other_.begin(), left, stride); break;
        default: pass<5>(x.begin(), other_.begin(), left, stride);
      }
      std::swap(x, other_);
      stride *= radix;
    }
  }

 private:
  // x as (radix, left, stride) -> y as (left, radix, stride): `left` butterflies, each for `stride` columns.
  template <int RADIX>
  void pass(const Complex* x, Complex* y, int64_t left, int64_t stride) {
    Complex root[RADIX][RADIX], twiddle[RADIX];
    for (int r = 0; r < RADIX; ++r)
      for (int s = 0; s < RADIX; ++s) root[r][s] = turns_[r * s % RADIX * (n_ / RADIX)];
    for (int64_t p = 0; p < left; ++p) {
      for (int r = 0; r < RADIX; ++r) twiddle[r] = turns_[p * r * stride];
      in_pieces(stride, watch_, [&](int64_t at, int64_t count) {
        for (int64_t q = at; q < at + count; ++q)
          butterfly<RADIX>(x + q + stride * p, stride * left, y + q + stride * RADIX * p, stride, root, twiddle);
      });
    }
  }

  template <int RADIX>
  static void butterfly(const Complex* x, int64_t from, Complex* y, int64_t to, const Complex (&root)[RADIX][RADIX],
                        const Complex (&twiddle)[RADIX]) {
    Complex in[RADIX];
    for (int r = 0; r < RADIX; ++r) in[r] = x[from * r];
    if constexpr (RADIX == 4) {  // its roots are 1, -i, -1, i: nothing to multiply
      const Complex a = in[0] + in[2], b = in[0] - in[2], c = in[1] + in[3], d = in[1] - in[3];
      const Complex turned{d.imag(), -d.real()};
      y[0] = a + c;
      y[to] = (b + turned) * twiddle[1];
      y[2 * to] = (a - c) * twiddle[2];
      y[3 * to] = (b - turned) * twiddle[3];
    } else {
      for (int r = 0; r < RADIX; ++r) {
        Complex sum = in[0];
        for (int s = 1; s < RADIX; ++s) sum += in[s] * root[r][s];
        y[to * r] = sum * twiddle[r];
      }
    }
  }

  int64_t n_;
  Line turns_, other_;
  KillWatch watch_;
};

// Bluestein: X[k] = w[k] * sum_j (x[j] w[j]) conj(w[k - j]) with w[k] = exp(-pi i k^2 / n), a circular convolution of m.
class Any {
 public:
  explicit Any(int64_t n) : m_(length_for(n)), inner_(m_), chirp_(n), filter_(m_), wide_(m_) {
    each(n, [&](int64_t k) {
      chirp_[k] = turn(k * k % (2 * n), 2 * n);
      filter_[k] = filter_[(m_ - k) % m_] = std::conj(chirp_[k]);
    });
    inner_.run(filter_);
  }

  void run(Line& x) {
    each(m_, [&](int64_t j) { wide_[j] = j < x.size() ? x[j] * chirp_[j] : Complex{}; });
    inner_.run(wide_);
    each(m_, [&](int64_t j) { wide_[j] = std::conj(wide_[j] * filter_[j]); });
    inner_.run(wide_);  // of conjugates: the inverse, but for a factor m and a conjugate
    each(x.size(), [&](int64_t k) { x[k] = std::conj(wide_[k]) * chirp_[k] / static_cast<double>(m_); });
  }

 private:
  static int64_t length_for(int64_t n) {
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    return m;
  }

  int64_t m_;
  Smooth inner_;
  Line chirp_, filter_, wide_;
};

template <typename Transform>
void transform_rows(Transform& transform, const float* x, float* out, int64_t rows, int64_t n, bool inverse) {
  Line line(n);
  const double sign = inverse ? -1.0 : 1.0, scale = inverse ? 1.0 / static_cast<double>(n) : 1.0;
  for (int64_t row = 0; row < rows; ++row, x += 2 * n, out += 2 * n) {
    each(n, [&](int64_t k) { line[k] = {x[2 * k], sign * x[2 * k + 1]}; });
    transform.run(line);
    each(n, [&](int64_t k) {
      out[2 * k] = static_cast<float>(scale * line[k].real());
      out[2 * k + 1] = static_cast<float>(sign * scale * line[k].imag());
    });
  }
}

}  // namespace

Spec infer_fft(const Op& op, Specs inputs) {
  const Spec& x = inputs[0];
  if (x.dtype != Dtype::float32) refuse_dtype(op, x.dtype, "float32");
  if (x.shape.rank() < 2 || x.shape[x.shape.rank() - 1] != 2)
    throw ValueError("fft takes complex numbers as an axis of 2 at the end, not shape " + text_of(x.shape));
  return x;
}

void execute_fft(const Op& op, Tensors inputs, const Tensor& out, const Kernels&) {
  const Tensor x = contiguous(inputs[0]);
  const int64_t n = out.shape()[out.rank() - 2], rows = out.size() / (2 * n);
  const bool inverse = op.integer(0) != 0;
  if (smooth(n)) {
    Smooth transform(n);
    transform_rows(transform, x.as<float>(), out.as<float>(), rows, n, inverse);
  } else {
    Any transform(n);
    transform_rows(transform, x.as<float>(), out.as<float>(), rows, n, inverse);
  }
}

}  // namespace shoal
