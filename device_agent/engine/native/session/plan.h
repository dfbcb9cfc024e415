// A flat plan: what device_agent/engine/plan/emit.py writes and a Session runs. 64-bit little-endian words.
//
//   header (16 words) | tensors (20 each) | inputs | outputs | commands | literal bytes
//
//   tensor:  space, byte offset, dtype, rank, sizes[8], strides[8]
//   command: operator, inputs, outputs, attributes (how many of each), then their tensors and words
//
// A raster's attributes: whether to fill first and with which bits, how many regions, and for each region: which input,
// source offset, strides[3], destination offset, strides[3], sizes[3]. Offsets and strides count elements.
// A command's results lie apart from all that it reads.
// The first `prologue` commands read constants only and run once, when the session is made.
#pragma once

#include <cstdint>

namespace shoal::plan {

constexpr int64_t magic = 0x4E414C504C414853;  // "SHALPLAN"
constexpr int64_t version = 1;
constexpr size_t header_words = 16;
constexpr size_t tensor_words = 20;
constexpr size_t region_words = 12;
constexpr int64_t tensors_max = 1 << 18;
constexpr int64_t commands_max = 1 << 18;
constexpr int64_t words_max = int64_t{1} << 27;
constexpr int64_t regions_max = 1 << 16;
constexpr int64_t outputs_max = 8;  // of one command
constexpr uint16_t raster = 200;

enum class Space : int64_t { arena = 0, kept = 1, literal = 2, weights = 3 };

struct Header {
  int64_t magic, version, words, tensors, inputs, outputs, commands, prologue, arena_bytes, kept_bytes, literal_bytes;
  int64_t reserved[5];
};
static_assert(sizeof(Header) == header_words * 8);

}  // namespace shoal::plan
