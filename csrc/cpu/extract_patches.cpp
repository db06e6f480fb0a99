#include <algorithm>
#include <vector>

#include "core/dtype.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

template <typename T>
void extract(const ExtractPatchesArgs& args, const ParallelFor& parallel_for) {
  const int64_t size = args.size, length = args.channels * size * size;
  parallel_for(0, args.batch * args.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / args.rows, y = row % args.rows * args.stride;
      for (int64_t column = 0; column < args.columns; ++column) {
        const T* source = static_cast<const T*>(args.features) + b * args.batch_stride + y * args.row_stride +
                          column * args.stride * args.column_stride;
        T* patch = static_cast<T*>(args.patches) + (row * args.columns + column) * length;
        for (int64_t c = 0; c < args.channels; ++c) {
          for (int64_t dy = 0; dy < size; ++dy) {
            for (int64_t dx = 0; dx < size; ++dx) {
              *patch++ = source[c * args.channel_stride + dy * args.row_stride + dx * args.column_stride];
            }
          }
        }
      }
    }
  });
}

template <typename T>
void extract_backward(const ExtractPatchesBackwardArgs& args, const ParallelFor& parallel_for) {
  const int64_t size = args.size, stride = args.stride, length = args.channels * size * size;
  // Each row of the result gathers from the patch rows that cover it, always in the same order.
  parallel_for(0, args.batch * args.height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(args.channels * args.width);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / args.height, y = item % args.height;
      std::fill(sums.begin(), sums.end(), 0.0f);
      const int64_t first = y < size ? 0 : (y - size) / stride + 1;
      for (int64_t row = first; row < args.rows && row * stride <= y; ++row) {
        const int64_t dy = y - row * stride;
        for (int64_t column = 0; column < args.columns; ++column) {
          const T* patch = static_cast<const T*>(args.grad_patches) +
                           ((b * args.rows + row) * args.columns + column) * length;
          for (int64_t c = 0; c < args.channels; ++c) {
            float* sum = &sums[c * args.width + column * stride];
            for (int64_t dx = 0; dx < size; ++dx) sum[dx] += to_float(patch[(c * size + dy) * size + dx]);
          }
        }
      }
      for (int64_t c = 0; c < args.channels; ++c) {
        T* result =
            static_cast<T*>(args.grad_features) + ((b * args.channels + c) * args.height + y) * args.width;
        for (int64_t x = 0; x < args.width; ++x) from_float(sums[c * args.width + x], result[x]);
      }
    }
  });
}

}  // namespace

void extract_patches(const ExtractPatchesArgs& args, const ParallelFor& parallel_for) {
  if (args.dtype == DType::kFloat32) {
    extract<float>(args, parallel_for);
  } else {
    extract<uint16_t>(args, parallel_for);  // a copy: the format does not matter
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
