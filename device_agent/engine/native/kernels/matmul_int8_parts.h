// How a right side of 8 bits is packed: what products and convolutions share.
//
// Packed: column scales, column sums, bias (n, to whole vectors, 4 bytes each), then panels (panel, quad of k, vectors *
// lanes, 4).
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/parallel.h"

namespace shoal {

struct LayoutInt8 {
  size_t lanes, columns, quads;
  Parts panels;
  LayoutInt8(size_t k, size_t n, const Kernels& kernels)
      : lanes(static_cast<size_t>(kernels.lanes)),
        columns(pieces_of(n, lanes) * lanes),
        quads(pieces_of(k, 4)),
        panels(panels_of(n, kernels)) {}
  size_t bytes() const { return columns * (3 * sizeof(float) + 4 * quads); }
};

// Where the parts of a packed right side begin.
template <typename Byte>
struct PackedInt8 {
  using Float = std::conditional_t<std::is_const_v<Byte>, const float, float>;
  using Whole = std::conditional_t<std::is_const_v<Byte>, const int32_t, int32_t>;
  using Small = std::conditional_t<std::is_const_v<Byte>, const int8_t, int8_t>;
  Float* scales;
  Whole* sums;
  Float* bias;
  Small* panels;
  PackedInt8(Byte* at, const LayoutInt8& layout)
      : scales(reinterpret_cast<Float*>(at)),
        sums(reinterpret_cast<Whole*>(at) + layout.columns),
        bias(reinterpret_cast<Float*>(at) + 2 * layout.columns),
        panels(reinterpret_cast<Small*>(at) + 3 * layout.columns * sizeof(float)) {}
};

// `column(j)` gives column j's scale; `number(j, p)` its number at p, in 8 bits.
template <typename Column, typename Number>
void pack_columns(const float* bias, size_t k, size_t n, void* packed, const Kernels& kernels, const Column& column,
                  const Number& number) {
  const LayoutInt8 layout(k, n, kernels);
  const PackedInt8<std::byte> to(static_cast<std::byte*>(packed), layout);
  std::memset(packed, 0, layout.bytes());
  for (size_t panel = 0; panel < layout.panels.count; ++panel) {
    const size_t first = layout.panels.begin(panel) * layout.lanes, width = layout.panels.size(panel) * layout.lanes;
    int8_t* of_panel = to.panels + first * 4 * layout.quads;
    for (size_t j = first; j < std::min(first + width, n); ++j) {
      to.scales[j] = column(j);
      to.bias[j] = bias != nullptr ? bias[j] : 0.0f;
      for (size_t p = 0; p < k; ++p) {
        const int8_t whole = number(j, p);
        of_panel[(p / 4 * width + j - first) * 4 + p % 4] = whole;
        to.sums[j] += whole;
      }
    }
  }
}

}  // namespace shoal
