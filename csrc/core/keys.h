// Where a voted patch comes from, as one number: the map's in the upper bits, the corner pixel's in the
// lower.
#pragma once

#include <cstdint>

#include "core/geometry.h"
#include "core/macros.h"
#include "neuralpatch/operators.h"

namespace neuralpatch {

constexpr int kSourcePixelBits = 48;
constexpr int64_t kNoSource = -1;

// The source of the patch `index`, counted through all maps.
NEURALPATCH_HOST_DEVICE int64_t encode_source(const KeyMap* keys, int count, int64_t index, int size) {
  int map = count - 1;
  while (map > 0 && index < keys[map].first) --map;
  const KeyMap& key = keys[map];
  const int64_t pixel = corner_pixel(index - key.first, positions_along(key.width, size), key.width);
  return int64_t{map} << kSourcePixelBits | pixel;
}

NEURALPATCH_HOST_DEVICE int source_key(int64_t source) {
  return static_cast<int>(source >> kSourcePixelBits);
}

NEURALPATCH_HOST_DEVICE int64_t source_pixel(int64_t source) {
  return source & ((int64_t{1} << kSourcePixelBits) - 1);
}

}  // namespace neuralpatch
