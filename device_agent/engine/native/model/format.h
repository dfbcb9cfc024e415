// A compiled model file, version 1, little-endian. device_agent/engine/format.py writes it and says the same.
//
//   header (64 bytes) | tensors (80 each) | operators (16 each) | indices (u32) | attributes (i64) | names (UTF-8)
//   | weights, each at a multiple of 64
//
// Each part starts at a multiple of 8. The checksum is CRC-32 (as in zlib) of the whole file with its own field zero.
// The reader trusts nothing: every count, offset, shape and id is checked before it is used.
#pragma once

#include <cstdint>

namespace shoal::file {

constexpr char magic[8] = {'S', 'H', 'O', 'A', 'L', 'M', 'D', 'L'};
constexpr uint32_t version = 1;
constexpr uint64_t file_bytes_max = uint64_t{1} << 31;
constexpr uint32_t tensors_max = 65536;
constexpr uint32_t operators_max = 65536;
constexpr uint32_t indices_max = 1u << 20;
constexpr uint32_t attributes_max = 1u << 20;
constexpr uint32_t names_bytes_max = 1u << 24;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t op_set;
  uint64_t file_bytes;
  uint32_t tensors;
  uint32_t operators;
  uint32_t indices;      // of tensors: the operators' inputs and outputs, then the model's inputs, then its outputs
  uint32_t attributes;
  uint32_t names_bytes;
  uint16_t inputs;       // of the model
  uint16_t outputs;
  uint32_t flags;        // zero
  uint32_t checksum;
  uint64_t reserved;     // zero
};
static_assert(sizeof(Header) == 64);

enum class Kind : uint8_t { computed = 0, input = 1, constant = 2 };

struct TensorRecord {
  uint32_t name_start;
  uint16_t name_bytes;
  uint8_t kind;
  uint8_t dtype;        // zero when computed
  uint8_t rank;         // zero when computed
  uint8_t zero[7];
  uint64_t start;       // of a constant's bytes in the file; zero otherwise
  uint64_t bytes;
  int64_t dims[6];      // an input's first may be -1: any size; zero past rank
};
static_assert(sizeof(TensorRecord) == 80);

struct OperatorRecord {
  uint16_t id;
  uint8_t inputs;           // they lie at indices[index_start ...], and the output after them
  uint8_t attributes;
  uint32_t index_start;
  uint32_t attribute_start;
  uint32_t zero;
};
static_assert(sizeof(OperatorRecord) == 16);

}  // namespace shoal::file
