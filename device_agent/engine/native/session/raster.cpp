#include "session/raster.h"

#include <algorithm>
#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

namespace {

constexpr int64_t alone_elements = 8 * 1024;  // of a raster or a piece of one
constexpr int64_t square = 32;  // side of the tiles in which a transpose is copied: both sides stay in the first cache

template <typename T>
void copy_square(const T* from, int64_t from_row, T* to, int64_t to_row, int64_t rows, int64_t columns) {
  // to[r * to_row + c] = from[c * from_row + r]
  for (int64_t r0 = 0; r0 < rows; r0 += square)
    for (int64_t c0 = 0; c0 < columns; c0 += square) {
      const int64_t r1 = std::min(rows, r0 + square), c1 = std::min(columns, c0 + square);
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t c = c0; c < c1; ++c) to[r * to_row + c] = from[c * from_row + r];
    }
}

template <typename T>
void copy_line(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t n) {
  if (to_step == 1 && from_step == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  } else if (to_step == 1 && from_step == 0) {
    std::fill(to, to + n, *from);
  } else if (to_step == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * from_step];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
  }
}

// Each of n elements `times` times, one beside the other.
template <typename T>
void copy_repeated(const T* from, T* to, int64_t n, int64_t times) {
  if (times == 2) {
    for (int64_t i = 0; i < n; ++i) to[2 * i] = to[2 * i + 1] = from[i];
  } else {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t k = 0; k < times; ++k) to[i * times + k] = from[i];
  }
}

template <typename T>
void copy_region(const Region& region, const T* from, T* to) {
  const auto &s = region.source_strides, &d = region.destination_strides, &n = region.sizes;
  for (int64_t z = 0; z < n[0]; ++z, from += s[0], to += d[0]) {
    if (d[2] == 1 && s[2] != 1 && s[1] == 1 && n[1] > 1 && s[2] != 0) {
      copy_square(from, s[2], to, d[1], n[1], n[2]);
      continue;
    }
    if (s[2] == 0 && d[2] == 1 && s[1] == 1 && d[1] == n[2]) {
      copy_repeated(from, to, n[1], n[2]);
      continue;
    }
    for (int64_t y = 0; y < n[1]; ++y) copy_line(from + y * s[1], s[2], to + y * d[1], d[2], n[2]);
  }
}

template <typename T>
bool copy_all(const Raster& raster, const std::vector<Tensor>& inputs, const Tensor& out, const Run& run) {
  T* to = out.as<T>();
  if (raster.fill) std::fill(to, to + out.size(), static_cast<T>(raster.bits));
  const auto each = [&](size_t index, int) {
    const Region& region = raster.regions[index];
    copy_region(region, inputs[region.input].as<T>() + region.source, to + region.destination);
  };
  // A few elements are moved before another thread has looked up.
  return share(out.size() <= alone_elements ? run.alone() : run, raster.regions.size(), each);
}

int64_t elements_of(const Region& region) { return region.sizes[0] * region.sizes[1] * region.sizes[2]; }

// Halves of a region along its first axis that has any, again and again until none is larger than `most`.
void cut_region(const Region& region, int64_t most, std::vector<Region>& pieces) {
  const size_t axis = region.sizes[0] > 1 ? 0 : region.sizes[1] > 1 ? 1 : 2;
  const int64_t half = region.sizes[axis] / 2;
  if (elements_of(region) <= most || half == 0) {
    pieces.push_back(region);
    return;
  }
  Region first = region, second = region;
  first.sizes[axis] = half;
  second.sizes[axis] -= half;
  second.source += half * region.source_strides[axis];
  second.destination += half * region.destination_strides[axis];
  cut_region(first, most, pieces);
  cut_region(second, most, pieces);
}

}  // namespace

void cut_regions(Raster& raster, int threads) {
  int64_t all = 0;
  for (const Region& region : raster.regions) all += elements_of(region);
  const int64_t most = std::max<int64_t>(alone_elements, all / (threads * static_cast<int64_t>(pieces_a_thread)));
  std::vector<Region> pieces;
  for (const Region& region : raster.regions) cut_region(region, most, pieces);
  raster.regions = std::move(pieces);
}

bool run_raster(const Raster& raster, const std::vector<Tensor>& inputs, const Tensor& out, const Run& run) {
  switch (size_of(out.dtype())) {
    case 1: return copy_all<uint8_t>(raster, inputs, out, run);
    case 2: return copy_all<uint16_t>(raster, inputs, out, run);
    case 4: return copy_all<uint32_t>(raster, inputs, out, run);
    default: return copy_all<uint64_t>(raster, inputs, out, run);
  }
}

}  // namespace shoal
