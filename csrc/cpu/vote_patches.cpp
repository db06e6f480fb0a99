#include <algorithm>
#include <vector>

#include "core/geometry.h"
#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {

void vote_patches(const VotePatchesArgs& args, const ParallelFor& parallel_for) {
  const int64_t columns = positions_along(args.width, args.size);
  const int64_t rows = positions_along(args.height, args.size);
  const int64_t key_columns = positions_along(args.key_width, args.size);
  const int64_t element = args.dtype == DType::kFloat32 ? 4 : 2;
  std::fill_n(args.source, rows * columns, int64_t{-1});
  for (int64_t m = 0; m < args.matches; ++m) args.source[args.position[m]] = args.index[m];

  // Each target pixel gathers from the patches that cover it, always in the same order.
  parallel_for(0, args.height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sum(args.channels);
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < args.width; ++x) {
        std::fill(sum.begin(), sum.end(), 0.0f);
        int64_t count = 0;
        for (int64_t dy = std::max<int64_t>(0, y - rows + 1); dy < args.size && dy <= y; ++dy) {
          for (int64_t dx = std::max<int64_t>(0, x - columns + 1); dx < args.size && dx <= x; ++dx) {
            const int64_t index = args.source[(y - dy) * columns + x - dx];
            if (index < 0) continue;
            const int64_t pixel = corner_pixel(index, key_columns, args.key_width) + dy * args.key_width + dx;
            kernels().accumulate(static_cast<const char*>(args.key) + pixel * args.channels * element,
                                 args.dtype, args.channels, sum.data());
            ++count;
          }
        }
        const int64_t pixel = y * args.width + x;
        args.count[pixel] = static_cast<float>(count);
        kernels().narrow(sum.data(), count == 0 ? 0.0f : 1.0f / static_cast<float>(count), args.dtype,
                         args.channels, static_cast<char*>(args.target) + pixel * args.channels * element);
      }
    }
  });
}

}  // namespace neuralpatch::cpu
