// PatchMatch over patches of feature maps.
#include <cmath>
#include <vector>

#include "core/geometry.h"
#include "core/patchmatch.h"
#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// Patches of a map as rows of contiguous elements.
struct Patches {
  const char* features;
  int64_t width, columns;  // of pixels and of patch positions
  int64_t pixel_bytes;

  const char* at(int64_t y, int64_t x) const { return features + (y * width + x) * pixel_bytes; }
  int64_t row_bytes() const { return width * pixel_bytes; }
};

// 1 / |patch| at every position, 0 for a patch of zeros: [height - size + 1, width - size + 1].
std::vector<float> inverse_norms(const void* features, DType dtype, int64_t height, int64_t width,
                                 int64_t channels, int size, const ParallelFor& parallel_for) {
  const int64_t rows = positions_along(height, size), columns = positions_along(width, size);
  const int64_t bytes = channels * (dtype == DType::kFloat32 ? 4 : 2);
  std::vector<double> squares(height * width);
  parallel_for(0, height, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> values(channels);
    for (int64_t pixel = begin * width; pixel < end * width; ++pixel) {
      kernels().widen(static_cast<const char*>(features) + pixel * bytes, dtype, channels, values.data());
      squares[pixel] = kernels().sum_of_squares(values.data(), channels);
    }
  });
  std::vector<float> inverse(rows * columns);
  parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      for (int64_t x = 0; x < columns; ++x) {
        double square = 0;
        for (int dy = 0; dy < size; ++dy) {
          for (int dx = 0; dx < size; ++dx) square += squares[(y + dy) * width + x + dx];
        }
        inverse[y * columns + x] = square == 0 ? 0.0f : 1 / std::sqrt(static_cast<float>(square));
      }
    }
  });
  return inverse;
}

}  // namespace

void refine_matches(const RefineMatchesArgs& args, const ParallelFor& parallel_for) {
  const int size = args.size;
  const int64_t pixel_bytes = args.channels * (args.dtype == DType::kFloat32 ? 4 : 2);
  const auto norms = [&](const void* features, int64_t height, int64_t width) {
    return inverse_norms(features, args.dtype, height, width, args.channels, size, parallel_for);
  };
  SearchMaps maps{};
  maps.count = args.maps;
  std::vector<std::vector<float>> key_norms;
  for (int m = 0; m < args.maps; ++m) {
    const SearchMap& map = args.map[m];
    const int64_t rows = positions_along(map.height, size), columns = positions_along(map.width, size);
    key_norms.push_back(norms(map.key, map.height, map.width));
    maps.map[m] = {map.key,      map.mask, key_norms.back().data(), int(map.width), int(rows),
                   int(columns), map.first};
    maps.positions = map.first + rows * columns;
  }
  const int64_t rows = positions_along(args.query_height, size),
                columns = positions_along(args.query_width, size);
  const Patches queries{static_cast<const char*>(args.query), args.query_width, columns, pixel_bytes};
  std::vector<int> slot(rows * columns, -1);
  for (int64_t i = 0; i < args.queries; ++i) slot[args.query_position[i]] = static_cast<int>(i);

  // <q, k> / |k|
  const auto correlate = [&](int64_t position, int m, int64_t y, int64_t x) {
    const NormedMap& map = maps.map[m];
    const Patches keys{static_cast<const char*>(map.key), map.width, map.columns, pixel_bytes};
    const char* q = queries.at(position / columns, position % columns);
    const char* k = keys.at(y, x);
    float sum = 0;
    for (int dy = 0; dy < size; ++dy, q += queries.row_bytes(), k += keys.row_bytes()) {
      sum += kernels().dot(q, k, args.dtype, size * args.channels);
    }
    return sum * map.inverse_norm[y * map.columns + x];
  };

  constexpr int64_t kGrain = 64;
  std::vector<int64_t> index(args.start, args.start + args.queries), next_index(args.queries);
  std::vector<float> score(args.queries), next_score(args.queries);
  parallel_for(0, args.queries, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int m = map_of(maps, index[i]);
      const int64_t offset = index[i] - maps.map[m].first;
      score[i] =
          correlate(args.query_position[i], m, offset / maps.map[m].columns, offset % maps.map[m].columns);
    }
  });
  for (int round = 0; round < args.rounds; ++round) {
    const Matches before{index.data(), score.data(), slot.data(), int(rows), int(columns)};
    parallel_for(0, args.queries, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t position = args.query_position[i];
        const Match match = refine(maps, before, i, int(position), args.seed, round,
                                   [&](int m, int y, int x) { return correlate(position, m, y, x); });
        next_index[i] = match.index;
        next_score[i] = match.score;
      }
    });
    index.swap(next_index);
    score.swap(next_score);
  }
  const std::vector<float> query_norm = norms(args.query, args.query_height, args.query_width);
  for (int64_t i = 0; i < args.queries; ++i) {
    args.index[i] = index[i];
    args.score[i] = score[i] * query_norm[args.query_position[i]];
  }
}

}  // namespace neuralpatch::cpu
