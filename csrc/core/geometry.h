// The arithmetic of patch grids.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace neuralpatch {

// Number of patch positions along an axis of `extent` pixels; 0 where no patch fits.
NEURALPATCH_HOST_DEVICE int64_t positions_along(int64_t extent, int64_t size, int64_t stride = 1) {
  return extent < size ? 0 : (extent - size) / stride + 1;
}

// Pixel number of the top-left corner of patch `position`, for an image of `width` pixels and `columns`
// positions a row.
NEURALPATCH_HOST_DEVICE int64_t corner_pixel(int64_t position, int64_t columns, int64_t width) {
  return position / columns * width + position % columns;
}

// Row-major number of the patch whose top-left corner is `pixel`: the inverse of corner_pixel.
NEURALPATCH_HOST_DEVICE int64_t position_of_corner(int64_t pixel, int64_t columns, int64_t width) {
  return pixel / width * columns + pixel % width;
}

// The first of the patches along an axis that contain `pixel`; the last is pixel / stride, or the axis' last
// patch.
template <typename Integer>
NEURALPATCH_HOST_DEVICE Integer first_patch_containing(Integer pixel, Integer size, Integer stride) {
  return pixel < size ? 0 : (pixel - size) / stride + 1;
}

}  // namespace neuralpatch
