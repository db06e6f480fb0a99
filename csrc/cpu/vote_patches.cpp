#include <algorithm>
#include <vector>

#include "core/geometry.h"
#include "core/keys.h"
#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Among how many of the pixels gathered last an equal one is looked for.
constexpr int64_t kRecent = 16;

}  // namespace

void vote_patches(const VotePatchesArgs& args, const ParallelFor& parallel_for) {
  const int64_t columns = positions_along(args.width, args.size);
  const int64_t rows = positions_along(args.height, args.size);
  const int64_t bytes = args.channels * (args.dtype == DType::kFloat32 ? 4 : 2);  // of a pixel
  std::fill_n(args.source, rows * columns, kNoSource);
  parallel_for(0, args.matches, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t m = begin; m < end; ++m) {
      args.source[args.position[m]] = encode_source(args.key, args.keys, args.index[m], args.size);
    }
  });

  const bool stream = worth_streaming(args.height * args.width * bytes);
  // Each target pixel gathers from the patches that cover it, always in the same order.
  parallel_for(0, args.height, 1, [&](int64_t begin, int64_t end) {
    // Neighbouring patches often agree on a pixel: each is read once, and weighs as much as it has votes.
    std::vector<const void*> pixels(args.size * args.size);
    std::vector<float> votes(args.size * args.size);
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < args.width; ++x) {
        int64_t count = 0, distinct = 0;
        for (int64_t dy = std::max<int64_t>(0, y - rows + 1); dy < args.size && dy <= y; ++dy) {
          for (int64_t dx = std::max<int64_t>(0, x - columns + 1); dx < args.size && dx <= x; ++dx) {
            const int64_t source = args.source[(y - dy) * columns + x - dx];
            if (source == kNoSource) continue;
            const KeyMap& key = args.key[source_key(source)];
            const int64_t pixel = source_pixel(source) + dy * key.width + dx;
            const void* const vote = static_cast<const char*>(key.features) + pixel * bytes;
            int64_t i = distinct - 1;
            const int64_t oldest = std::max<int64_t>(0, distinct - kRecent);
            while (i >= oldest && pixels[i] != vote) --i;
            if (i < oldest) {
              i = distinct++;
              pixels[i] = vote;
              votes[i] = 0;
            }
            votes[i] += 1;
            ++count;
          }
        }
        const int64_t pixel = y * args.width + x;
        args.count[pixel] = static_cast<float>(count);
        for (int64_t i = 0; i < distinct; ++i) votes[i] /= static_cast<float>(count);
        kernels().weighted_sum(pixels.data(), votes.data(), distinct, args.dtype, args.channels, stream,
                               static_cast<char*>(args.target) + pixel * bytes);
      }
    }
    if (stream) finish_streaming();
  });
}

}  // namespace neuralpatch::cpu
