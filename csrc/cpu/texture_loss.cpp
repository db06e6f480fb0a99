#include <algorithm>

#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Pixels per partial sum. It depends on nothing else, so that the result does not depend on the threads.
constexpr int64_t kChunk = 64;

}  // namespace

int64_t texture_loss_workspace(const TextureLossArgs& args) { return (args.pixels + kChunk - 1) / kChunk; }

void texture_loss(const TextureLossArgs& args, const ParallelFor& parallel_for) {
  const int64_t bytes = args.channels * (args.dtype == DType::kFloat32 ? 4 : 2);  // of a pixel
  const int64_t chunks = texture_loss_workspace(args);
  const bool stream = worth_streaming(args.pixels * bytes);
  parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kChunk, pixels = std::min(args.pixels - first, kChunk);
      char* const gradient = static_cast<char*>(args.gradient);
      args.workspace[chunk] = kernels().texture_loss(
          static_cast<const char*>(args.features) + first * bytes,
          static_cast<const char*>(args.target) + first * bytes, args.weight + first, args.dtype, pixels,
          args.channels, stream, gradient == nullptr ? nullptr : gradient + first * bytes);
    }
    if (stream) finish_streaming();
  });
  double loss = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) loss += args.workspace[chunk];
  *args.loss = static_cast<float>(loss);
}

}  // namespace neuralpatch::cpu
