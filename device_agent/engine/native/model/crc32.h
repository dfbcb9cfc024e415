// CRC-32 as in zlib, eight bytes at a time.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shoal {
uint32_t crc32(uint32_t start, const void* data, size_t bytes);
}  // namespace shoal
