// With quarters X11, X12, X21, X22 of each matrix:
//
//   S1 = A21 + A22, S2 = S1 - A11, S3 = A11 - A21, S4 = A12 - S2
//   T1 = B12 - B11, T2 = B22 - T1, T3 = B22 - B12, T4 = T2 - B21
//   U2 = A11 B11 + S2 T2, U3 = U2 + S3 T3, P5 = S1 T1
//   C11 = A11 B11 + A12 B21, C12 = U2 + P5 + S4 B22, C21 = U3 - A22 T4, C22 = U3 + P5
//
// Packed: bias (n), then B11, B21, T1, T2, B22, T3, -T4 as `pack_right` packs them. Workspace: a sum of A's quarters
// (rows, k / 2), and U2 (rows, n / 2). Where m is odd, the lower quarters have a row less, which counts as zeros.
#include "kernels/strassen.h"

#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr size_t floats_in_piece = 64 * 1024;

enum Right : size_t { b11, b21, t1, t2, b22, t3, minus_t4, rights };

// A matrix whose columns are neighbours.
struct Rows {
  const float* at;
  ptrdiff_t row;
  size_t count;
  const float* operator[](size_t i) const { return at + static_cast<ptrdiff_t>(i) * row; }
};

// body(i) for every row, rows of so many floats shared out.
template <typename Body>
bool each_row(const Run& run, size_t rows, size_t floats, const Body& body) {
  const size_t in_piece = std::max<size_t>(1, floats_in_piece / std::max<size_t>(floats, 1));
  return share(run, pieces_of(rows, in_piece), [&](size_t index, int) {
    for (size_t i = index * in_piece; i < std::min((index + 1) * in_piece, rows); ++i) body(i);
  });
}

class Work {
 public:
  Work(const Product& p, const float* packed, float* workspace, const Run& run)
      : p_(p),
        run_(run),
        upper_((p.m + 1) / 2),
        lower_(p.m / 2),
        k_(p.k / 2),
        n_(p.n / 2),
        packed_(packed + p.n),
        sum_(workspace),
        u2_(workspace + upper_ * k_) {}

  // A's and C's quarters.
  Rows a(size_t down, size_t across) const {
    return {p_.a + static_cast<ptrdiff_t>(down * upper_) * p_.a_row + static_cast<ptrdiff_t>(across * k_), p_.a_row,
            down == 0 ? upper_ : lower_};
  }
  float* c(size_t down, size_t across) const {
    return p_.c + static_cast<ptrdiff_t>(down * upper_) * p_.c_row + static_cast<ptrdiff_t>(across * n_);
  }
  Rows sum() const { return {sum_, static_cast<ptrdiff_t>(k_), upper_}; }
  Rows u2() const { return {u2_, static_cast<ptrdiff_t>(n_), upper_}; }

  // to = x + y or x - y, over the upper quarters' rows; a row that is missing is zeros.
  bool add(Binary op, const Rows& x, const Rows& y) const {
    return each_row(run_, upper_, k_, [&](size_t i) {
      float* to = sum_ + i * k_;
      const float zero = 0;
      const bool has_x = i < x.count, has_y = i < y.count;
      run_.kernels.binary_f32(op, has_x ? x[i] : &zero, has_x, has_y ? y[i] : &zero, has_y, to, k_);
    });
  }

  // out (rows of `left`) = left @ right, added to what is there or to another matrix.
  bool multiply_into(const Rows& left, Right right, float* out, ptrdiff_t out_row, size_t rows, bool accumulate,
                     const Rows* to = nullptr) const {
    Product part{};
    part.m = rows, part.n = n_, part.k = k_;
    part.a = left.at, part.a_row = left.row, part.a_column = 1;
    part.c = out, part.c_row = out_row;
    part.accumulate = accumulate;
    if (to != nullptr) part.residual = to->at, part.residual_row = to->row;
    return multiply(part, packed_ + right * packed_floats(k_, n_, run_.kernels), nullptr, run_);
  }

  // C22 = C12, where P5 is; C12 += U2.
  bool split_p5() const {
    return each_row(run_, upper_, 2 * n_, [&](size_t i) {
      float* at = row_of(c(0, 1), i);
      if (i < lower_) std::memcpy(row_of(c(1, 1), i), at, n_ * sizeof(float));
      run_.kernels.binary_f32(Binary::add, at, 1, u2()[i], 1, at, n_);
    });
  }
  // C22 += C21, where U3 is.
  bool add_u3() const {
    return each_row(run_, lower_, n_, [&](size_t i) {
      float* at = row_of(c(1, 1), i);
      run_.kernels.binary_f32(Binary::add, at, 1, row_of(c(1, 0), i), 1, at, n_);
    });
  }
  // Bias, residual, activation.
  bool end(const float* bias) const {
    return each_row(run_, p_.m, p_.n, [&](size_t i) {
      float* at = row_of(p_.c, i);
      run_.kernels.binary_f32(Binary::add, at, 1, bias, 1, at, p_.n);
      if (p_.residual != nullptr) {
        const float* rest = p_.residual + static_cast<ptrdiff_t>(i) * p_.residual_row;
        run_.kernels.binary_f32(Binary::add, at, 1, rest, 1, at, p_.n);
      }
      if (p_.activation != Activation::none) run_.kernels.activate_line(p_.activation, at, at, p_.n, p_.low, p_.high);
    });
  }

  size_t upper() const { return upper_; }
  size_t lower() const { return lower_; }
  float* u2_at() const { return u2_; }
  ptrdiff_t half() const { return static_cast<ptrdiff_t>(n_); }

 private:
  float* row_of(float* from, size_t i) const { return from + static_cast<ptrdiff_t>(i) * p_.c_row; }

  const Product& p_;
  const Run& run_;
  size_t upper_, lower_, k_, n_;
  const float* packed_;
  float* sum_;
  float* u2_;
};

}  // namespace

size_t strassen_packed_floats(size_t k, size_t n, const Kernels& kernels) {
  return n + rights * packed_floats(k / 2, n / 2, kernels);
}

size_t strassen_packing_floats(size_t k, size_t n) { return (k / 2) * (n / 2); }

void pack_strassen(const float* b, ptrdiff_t b_row, ptrdiff_t b_column, const float* bias, size_t k, size_t n, float* packed,
                   float* workspace, const Kernels& kernels) {
  const size_t deep = k / 2, wide = n / 2, one = packed_floats(deep, wide, kernels);
  for (size_t j = 0; j < n; ++j) packed[j] = bias == nullptr ? 0.0f : bias[j];
  // Of B11, B12, B21, B22 how often each is in a right side.
  constexpr float parts[rights][4] = {{1, 0, 0, 0}, {0, 0, 1, 0},  {-1, 1, 0, 0}, {1, -1, 0, 1},
                                      {0, 0, 0, 1}, {0, -1, 0, 1}, {-1, 1, 1, -1}};
  for (size_t right = 0; right < rights; ++right) {
    for (size_t p = 0; p < deep; ++p)
      for (size_t j = 0; j < wide; ++j) {
        float made = 0;
        for (size_t quarter = 0; quarter < 4; ++quarter)
          if (parts[right][quarter] != 0)
            made += parts[right][quarter] * b[static_cast<ptrdiff_t>(p + quarter / 2 * deep) * b_row +
                                              static_cast<ptrdiff_t>(j + quarter % 2 * wide) * b_column];
        workspace[p * wide + j] = made;
      }
    pack_right(workspace, static_cast<ptrdiff_t>(wide), 1, nullptr, deep, wide, packed + n + right * one, kernels);
  }
}

size_t strassen_workspace_floats(size_t m, size_t n, size_t k) { return (m + 1) / 2 * (k / 2 + n / 2); }

bool multiply_strassen(const Product& product, const float* packed, float* workspace, const Run& run) {
  const Work w(product, packed, workspace, run);
  const Rows a11 = w.a(0, 0), a12 = w.a(0, 1), a21 = w.a(1, 0), a22 = w.a(1, 1), s = w.sum(), u2 = w.u2();
  const size_t upper = w.upper(), lower = w.lower();
  const ptrdiff_t c_row = product.c_row;
  return w.multiply_into(a11, b11, w.u2_at(), w.half(), upper, false) &&
         w.multiply_into(a12, b21, w.c(0, 0), c_row, upper, false, &u2) &&       // C11
         w.add(Binary::add, a21, a22) &&                                         // S1
         w.multiply_into(s, t1, w.c(0, 1), c_row, upper, false) &&               // P5
         w.add(Binary::subtract, s, a11) &&                                      // S2
         w.multiply_into(s, t2, w.u2_at(), w.half(), upper, true) &&             // U2
         w.add(Binary::subtract, a12, s) &&                                      // S4
         w.split_p5() && w.multiply_into(s, b22, w.c(0, 1), c_row, upper, true) &&  // C12
         w.add(Binary::subtract, a11, a21) &&                                    // S3
         w.multiply_into(s, t3, w.c(1, 0), c_row, lower, false, &u2) &&          // U3
         w.add_u3() &&                                                           // C22
         w.multiply_into(a22, minus_t4, w.c(1, 0), c_row, lower, true) &&        // C21
         w.end(packed);
}

}  // namespace shoal
