#include <algorithm>
#include <cstring>
#include <vector>

#include "core/dtype.h"
#include "core/geometry.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Channels at a time, so that what a row of patches needs of them stays in the first caches.
constexpr int64_t kChannels = 32;
// Patches whose gradients are read at a time, for the same reason.
constexpr int64_t kColumns = 16;
// Rows of the gradient that are summed up at a time: the patch rows that reach over the end are read twice.
constexpr int64_t kStripRows = 16;

// kSize is the patch size, or 0 where it is only known at run time.
template <typename T, int kSize>
void extract(const ExtractPatchesArgs& args, const ParallelFor& parallel_for) {
  const int64_t size = kSize != 0 ? kSize : args.size;
  const int64_t length = args.channels * size * size;
  const int64_t width = (args.columns - 1) * args.stride + size;  // of the pixels that patches cover
  const int64_t pitch = width + 1;                                // a wide copy may read one more
  parallel_for(0, args.batch * args.rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> lines(kChannels * size * pitch);  // [channel, dy, x] of a row of patches
    for (int64_t row = begin; row < end; ++row) {
      const T* const source = static_cast<const T*>(args.features) + row / args.rows * args.batch_stride +
                              row % args.rows * args.stride * args.row_stride;
      for (int64_t c0 = 0; c0 < args.channels; c0 += kChannels) {
        const int64_t channels = std::min(kChannels, args.channels - c0);
        for (int64_t dy = 0; dy < size; ++dy) {
          const T* const pixels = source + c0 * args.channel_stride + dy * args.row_stride;
          if (args.channel_stride == 1) {
            for (int64_t x = 0; x < width; ++x) {
              for (int64_t c = 0; c < channels; ++c) {
                lines[(c * size + dy) * pitch + x] = pixels[x * args.column_stride + c];
              }
            }
          } else {
            for (int64_t c = 0; c < channels; ++c) {
              for (int64_t x = 0; x < width; ++x) {
                lines[(c * size + dy) * pitch + x] = pixels[c * args.channel_stride + x * args.column_stride];
              }
            }
          }
        }
        for (int64_t column = 0; column < args.columns; ++column) {
          const T* line = lines.data() + column * args.stride;
          T* patch =
              static_cast<T*>(args.patches) + (row * args.columns + column) * length + c0 * size * size;
          int64_t left = channels * size;
          if (kSize == 3) {
            // One access of four elements; the next line overwrites what is too much.
            for (; left > 1; --left, line += pitch, patch += 3) std::memcpy(patch, line, 4 * sizeof(T));
          }
          for (; left > 0; --left, line += pitch, patch += size) std::copy_n(line, size, patch);
        }
      }
    }
  });
}

// Adds the same line of `columns` neighbouring patches, `length` elements apart, to the sums of a row of
// pixels.
template <typename T>
void add_lines(const T* line, int64_t length, int64_t columns, int64_t size, int64_t stride, float* sums) {
  if (size == 3 && stride == 1) {
    // The sums of the next two pixels stay in registers, so that each is read and written once.
    float here = sums[0], next = sums[1];
    for (int64_t x = 0; x < columns; ++x, line += length) {
      sums[x] = here + to_float(line[0]);
      here = next + to_float(line[1]);
      next = sums[x + 2] + to_float(line[2]);
    }
    sums[columns] = here;
    sums[columns + 1] = next;
    return;
  }
  for (int64_t column = 0; column < columns; ++column, line += length) {
    for (int64_t dx = 0; dx < size; ++dx) sums[column * stride + dx] += to_float(line[dx]);
  }
}

template <typename T>
void extract_backward(const ExtractPatchesBackwardArgs& args, const ParallelFor& parallel_for) {
  const int64_t size = args.size, stride = args.stride, length = args.channels * size * size;
  const int64_t strips = (args.height + kStripRows - 1) / kStripRows;
  const int64_t blocks = (args.channels + kChannels - 1) / kChannels;
  // Each element of the result is a sum over the patches that cover it, always in the same order.
  parallel_for(0, args.batch * strips * blocks, 1, [&](int64_t begin, int64_t end) {
    const int64_t pitch = args.width;
    std::vector<float> sums(kStripRows * kChannels * pitch);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / blocks / strips, top = item / blocks % strips * kStripRows;
      const int64_t bottom = std::min(top + kStripRows, args.height);
      const int64_t c0 = item % blocks * kChannels, channels = std::min(kChannels, args.channels - c0);
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (int64_t row = first_patch_containing(top, size, stride); row < args.rows && row * stride < bottom;
           ++row) {
        const int64_t y = row * stride;
        const int64_t first = std::max<int64_t>(0, top - y), last = std::min(size, bottom - y);
        const T* patch = static_cast<const T*>(args.grad_patches) +
                         (b * args.rows + row) * args.columns * length + c0 * size * size;
        for (int64_t column = 0; column < args.columns; column += kColumns) {
          const int64_t columns = std::min(kColumns, args.columns - column);
          for (int64_t c = 0; c < channels; ++c) {
            for (int64_t dy = first; dy < last; ++dy) {
              add_lines(patch + column * length + (c * size + dy) * size, length, columns, size, stride,
                        &sums[((y + dy - top) * kChannels + c) * pitch + column * stride]);
            }
          }
        }
      }
      for (int64_t c = 0; c < channels; ++c) {
        T* const plane =
            static_cast<T*>(args.grad_features) + (b * args.channels + c0 + c) * args.height * args.width;
        for (int64_t y = top; y < bottom; ++y) {
          const float* const sum = &sums[((y - top) * kChannels + c) * pitch];
          for (int64_t x = 0; x < args.width; ++x) from_float(sum[x], plane[y * args.width + x]);
        }
      }
    }
  });
}

template <typename T>
void extract_any(const ExtractPatchesArgs& args, const ParallelFor& parallel_for) {
  args.size == 3 ? extract<T, 3>(args, parallel_for) : extract<T, 0>(args, parallel_for);
}

}  // namespace

void extract_patches(const ExtractPatchesArgs& args, const ParallelFor& parallel_for) {
  if (args.dtype == DType::kFloat32) {
    extract_any<float>(args, parallel_for);
  } else {
    extract_any<uint16_t>(args, parallel_for);  // a copy: the format does not matter
  }
}

void extract_patches_backward(const ExtractPatchesBackwardArgs& args, const ParallelFor& parallel_for) {
  switch (args.dtype) {
    case DType::kFloat32:
      return extract_backward<float>(args, parallel_for);
    case DType::kBFloat16:
      return extract_backward<BFloat16>(args, parallel_for);
    case DType::kFloat16:
      return extract_backward<Float16>(args, parallel_for);
  }
}

}  // namespace neuralpatch::cpu
