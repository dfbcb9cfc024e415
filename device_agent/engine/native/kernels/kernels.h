// What a level of dispatch offers: one table of functions per instruction set, chosen at run time.
//
// Rules: plain pointers and sizes in, nothing allocated, nothing thrown, no Python. Strides count elements.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "kernels/depthwise.h"
#include "kernels/half_rows.h"
#include "kernels/rows.h"
#include "kernels/tile.h"
#include "kernels/tile_int8.h"
#include "kernels/winograd.h"

namespace shoal {

enum class Binary : uint8_t { add, subtract, multiply, divide, maximum, minimum };
enum class Unary : uint8_t { relu, sigmoid, tanh, exp, sqrt, negative, clip };
enum class Reduce : uint8_t { sum, maximum, minimum };
enum class Level : uint8_t { portable, avx2, avx512, neon };

// out[i] = a[i * a_stride] op b[i * b_stride], i < n. Integers wrap; they are never divided here.
template <typename T>
using BinaryKernel = void (*)(Binary op, const T* a, ptrdiff_t a_stride, const T* b, ptrdiff_t b_stride, T* out,
                              size_t n);
// out[i] = op(x[i]); low and high are clip's.
template <typename T>
using UnaryKernel = void (*)(Unary op, const T* x, T* out, size_t n, T low, T high);
template <typename T>
using ReduceKernel = T (*)(Reduce op, const T* x, size_t n);

// C (m,n) = alpha * A (m,k) @ B (k,n), added to what C holds when `accumulate`. C's rows are contiguous.
struct Gemm {
  size_t m, n, k;
  float alpha;
  const float* a;
  ptrdiff_t a_row, a_column;
  const float* b;
  ptrdiff_t b_row, b_column;
  float* c;
  ptrdiff_t c_row;
  bool accumulate;
  const std::atomic<bool>* cancelled = nullptr;  // once it is true, the product is left unfinished
};

struct ChainStep;

struct Kernels {
  Level level;
  BinaryKernel<float> binary_f32;
  BinaryKernel<int32_t> binary_i32;
  BinaryKernel<int64_t> binary_i64;
  BinaryKernel<uint8_t> binary_u8;
  UnaryKernel<float> unary_f32;
  UnaryKernel<int32_t> unary_i32;
  UnaryKernel<int64_t> unary_i64;
  UnaryKernel<uint8_t> unary_u8;
  ReduceKernel<float> reduce_f32;
  ReduceKernel<int32_t> reduce_i32;
  ReduceKernel<int64_t> reduce_i64;
  // One row: out[i] = exp(x[i] - max x) / sum.
  void (*softmax_row)(const float* x, float* out, size_t n);
  size_t (*gemm_workspace)(const Gemm& gemm);  // in floats
  void (*gemm)(const Gemm& gemm, float* workspace);

  // What kernels/matmul.h and kernels/convolution.h are made of.
  int lanes;                                  // floats of a vector there, and channels of a block
  int tile_vectors;                           // the most that a tile is best with
  uint8_t tile_rows[tile_vectors_max + 1];    // the most, by vectors
  void (*tile)(int vectors, int rows, const Tile& tile);
  void (*depthwise_line)(const DepthwiseLine& line);
  void (*depthwise_plain_line)(const DepthwiseLine& line);
  void (*normalize_row)(const NormRow& row);
  void (*pool_row)(const PoolRow& row);
  void (*chain_step)(const ChainStep& step, const float* a, const float* b, float* to, size_t n);
  void (*activate_line)(Activation activation, const float* x, float* out, size_t n, float low, float high);
  // out[x * out_pixel + c] = in[c * in_channel + x * in_pixel], x < width, c < channels; zero up to `lanes`.
  void (*interleave)(const float* in, ptrdiff_t in_channel, ptrdiff_t in_pixel, size_t channels, float* out,
                     ptrdiff_t out_pixel, size_t width);
  // out[c * out_channel + x * out_pixel] = in[x * in_pixel + c], x < width, c < channels.
  void (*deinterleave)(const float* in, ptrdiff_t in_pixel, size_t width, float* out, ptrdiff_t out_channel,
                       ptrdiff_t out_pixel, size_t channels);
  // Transforms of Winograd's convolution by side and unit; null where there is none.
  void (*(*winograd_in)(int side))(const WinogradIn& part);
  void (*(*winograd_out)(int side, int unit))(const WinogradOut& part);
  // What kernels/matmul_int8.h is made of.
  TileInt8Kernel tile_int8;
  QuantizeRowKernel quantize_row;
  LargestOfPixelsKernel largest_of_pixels;
  QuantizePixelsKernel quantize_pixels;
  void (*half_rows)(const HalfRows& rows);
  // 12 * lanes * rounds products with a sum each: what to measure a core's peak by.
  float (*multiply_only)(size_t rounds);
};

const Kernels* portable_kernels();
const Kernels* avx2_kernels();    // null where the compiler cannot make it
const Kernels* avx512_kernels();  // null where the compiler cannot make it
const Kernels* neon_kernels();    // null where the compiler cannot make it

bool runs_here(Level level);
const Kernels& best_kernels();
const Kernels* kernels_named(const char* name);  // null: no such level, or this machine cannot run it
const char* name_of(Level level);

}  // namespace shoal
