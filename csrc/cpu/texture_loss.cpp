#include <algorithm>
#include <cstring>

#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Pixels per partial sum. It depends on nothing else, so that the result does not depend on the threads.
constexpr int64_t kChunk = 64;

}  // namespace

int64_t texture_loss_workspace(const TextureLossArgs& args) { return (args.pixels + kChunk - 1) / kChunk; }

void texture_loss(const TextureLossArgs& args, const ParallelFor& parallel_for) {
  const int64_t bytes = args.channels * (args.dtype == DType::kFloat32 ? 4 : 2);
  const int64_t chunks = texture_loss_workspace(args);
  parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      double sum = 0;
      for (int64_t p = chunk * kChunk; p < std::min(args.pixels, (chunk + 1) * kChunk); ++p) {
        const float count = args.count[p];
        char* gradient = static_cast<char*>(args.gradient) + p * bytes;
        if (count == 0) {
          std::memset(gradient, 0, bytes);
          continue;
        }
        sum += count * kernels().squared_difference(static_cast<const char*>(args.features) + p * bytes,
                                                    static_cast<const char*>(args.target) + p * bytes,
                                                    2 * count, args.dtype, args.channels, gradient);
      }
      args.workspace[chunk] = sum;
    }
  });
  double loss = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) loss += args.workspace[chunk];
  *args.loss = static_cast<float>(loss);
}

}  // namespace neuralpatch::cpu
