#include "model/crc32.h"

#include <array>
#include <cstring>

namespace shoal {

namespace {

using Table = std::array<std::array<uint32_t, 256>, 8>;

constexpr Table make_table() {
  Table table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t x = i;
    for (int bit = 0; bit < 8; ++bit) x = (x >> 1) ^ (x & 1 ? 0xEDB88320u : 0u);
    table[0][i] = x;
  }
  for (size_t row = 1; row < 8; ++row)
    for (size_t i = 0; i < 256; ++i) table[row][i] = (table[row - 1][i] >> 8) ^ table[0][table[row - 1][i] & 255];
  return table;
}
constexpr Table table = make_table();

}  // namespace

uint32_t crc32(uint32_t start, const void* data, size_t bytes) {
  uint32_t crc = ~start;
  const auto* at = static_cast<const unsigned char*>(data);
  for (; bytes >= 8; bytes -= 8, at += 8) {
    uint32_t low, high;
    std::memcpy(&low, at, 4);
    std::memcpy(&high, at + 4, 4);
    low ^= crc;
    crc = table[7][low & 255] ^ table[6][(low >> 8) & 255] ^ table[5][(low >> 16) & 255] ^ table[4][low >> 24] ^
          table[3][high & 255] ^ table[2][(high >> 8) & 255] ^ table[1][(high >> 16) & 255] ^ table[0][high >> 24];
  }
  for (; bytes > 0; --bytes, ++at) crc = (crc >> 8) ^ table[0][(crc ^ *at) & 255];
  return ~crc;
}

}  // namespace shoal
