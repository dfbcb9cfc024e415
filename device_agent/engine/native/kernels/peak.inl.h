// The most that a core can do: products and sums that wait for nothing. Included by kernels/table.inl.h, once a level.

namespace shoal {
namespace {

// `rounds` times 12 products and sums of N lanes; gives a number that depends on all of them.
template <int N>
float multiply_only(size_t rounds) {
  using F = Simd<float, N>;
  F acc[12];
#pragma GCC unroll 12
  for (int i = 0; i < 12; ++i) acc[i] = F::fill(static_cast<float>(i));
  F x = F::fill(0.999f), y = F::fill(0.001f);
  asm volatile("" : "+r"(rounds));
  for (size_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = acc[i] * x + y;
  }
  F sum = acc[0];
  for (int i = 1; i < 12; ++i) sum = sum + acc[i];
  float total = 0;
  for (int lane = 0; lane < N; ++lane) total += sum.lane(lane);
  return total;
}

}  // namespace
}  // namespace shoal
