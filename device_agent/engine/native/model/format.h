// A compiled model file, version 2, little-endian. device_agent/engine/format.py writes it and says the same.
//
//   header (64 bytes) | graph (JSON, UTF-8) | weights, each at a multiple of 64
//
// The core maps the file once for the whole process, checks the header, the length and the checksum, and lends the bytes;
// the planner reads the graph, and a plan's weights are checked against the file when a session is made.
// The checksum is CRC-32 (as in zlib) of the whole file with its own field zero.
#pragma once

#include <cstdint>

namespace shoal::file {

constexpr char magic[8] = {'S', 'H', 'O', 'A', 'L', 'M', 'D', 'L'};
constexpr uint32_t version = 2;
constexpr uint64_t file_bytes_max = uint64_t{1} << 31;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t op_set;
  uint64_t file_bytes;
  uint64_t graph_bytes;    // the graph follows the header
  uint64_t weights_start;  // a multiple of 64
  uint32_t checksum;
  uint32_t flags;          // zero
  uint8_t reserved[16];    // zero
};
static_assert(sizeof(Header) == 64);

}  // namespace shoal::file
