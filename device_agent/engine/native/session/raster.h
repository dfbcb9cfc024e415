// The raster kernel: it moves elements from tensors to a tensor, region by region.
//
// Rules: a region was checked against both tensors before it gets here. Fast paths, by what the innermost strides allow:
// one copy, rows, squares of a transpose, runs of one element; else element by element.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/run.h"
#include "tensor/tensor.h"

namespace shoal {

struct Region {
  size_t input;
  int64_t source, destination;
  std::array<int64_t, 3> source_strides, destination_strides, sizes;
};

struct Raster {
  bool fill = false;
  uint64_t bits = 0;  // of one element
  std::vector<Region> regions;
};

// Cuts large regions, so that threads can share them.
void cut_regions(Raster& raster, int threads);

// False: cancelled, and `out` holds anything.
bool run_raster(const Raster& raster, const std::vector<Tensor>& inputs, const Tensor& out, const Run& run);

}  // namespace shoal
