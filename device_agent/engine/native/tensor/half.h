// Sixteen-bit floats: to and from float32, rounded to the nearest, halves to the even number.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace shoal {

inline float from_bfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (x != x) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

inline float from_float16(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, exponent = (bits >> 10) & 31, fraction = bits & 0x3FF;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | (fraction << 13));
  if (exponent == 0) {  // subnormal: fraction * 2^-24
    const float x = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -x : x;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
}

inline uint16_t to_float16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = (bits >> 16) & 0x8000;
  const float size = std::fabs(x);
  if (x != x) return static_cast<uint16_t>(sign | 0x7E00);
  if (size >= 65520.0f) return static_cast<uint16_t>(sign | 0x7C00);
  if (size < 0x1p-14f) return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(size * 0x1p24f)));
  const uint32_t kept = std::bit_cast<uint32_t>(size) - 0x38000000u;
  return static_cast<uint16_t>(sign | ((kept + 0xFFF + ((kept >> 13) & 1)) >> 13));
}

}  // namespace shoal
