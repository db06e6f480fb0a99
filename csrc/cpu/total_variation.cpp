#include <vector>

#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {

int64_t total_variation_workspace(const TotalVariationArgs& args) { return args.height; }

void total_variation(const TotalVariationArgs& args, const ParallelFor& parallel_for) {
  const int64_t height = args.height, width = args.width;
  const int64_t element = args.dtype == DType::kFloat32 ? 4 : 2;
  const int lanes = kernels().lanes;
  // A row between one value before it and the padding that whole vectors read after it, all zero.
  const int64_t padded = (width / lanes + 2) * lanes + 1;
  parallel_for(0, height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(7 * padded);
    float* const start = buffer.data() + 1;
    float *const above = start, *const x = start + padded, *const below = start + 2 * padded;
    float *const right = start + 3 * padded, *const up = start + 4 * padded, *const down = start + 5 * padded;
    float* const gradient = start + 6 * padded;
    for (int64_t y = begin; y < end; ++y) {
      const bool* mask = args.mask + y * width;
      for (int64_t i = 0; i < width; ++i) {
        right[i] = i + 1 < width && (mask[i] || mask[i + 1]);
        up[i] = y > 0 && (mask[i] || mask[i - width]);
        down[i] = y + 1 < height && (mask[i] || mask[i + width]);
      }
      double sum = 0;
      for (int64_t c = 0; c < args.channels; ++c) {
        const int64_t offset = (c * height + y) * width;
        const char* row = static_cast<const char*>(args.x) + offset * element;
        kernels().widen(row, args.dtype, width, x);
        // Beyond the image the weights are zero; the row itself stands in for the one that is not there.
        kernels().widen(y > 0 ? row - width * element : row, args.dtype, width, above);
        kernels().widen(y + 1 < height ? row + width * element : row, args.dtype, width, below);
        sum += kernels().variation_row(above, x, below, right, up, down, width, gradient);
        kernels().narrow(gradient, 1.0f, args.dtype, width,
                         static_cast<char*>(args.gradient) + offset * element);
      }
      args.workspace[y] = sum;
    }
  });
  double loss = 0;
  for (int64_t y = 0; y < height; ++y) loss += args.workspace[y];
  *args.loss = static_cast<float>(loss);
}

}  // namespace neuralpatch::cpu
