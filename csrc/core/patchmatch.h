// The candidates that PatchMatch looks at, the same on every device.
//
// All queries of a round read the matches of the round before, so that the order in which threads run does
// not matter, and random numbers are a hash of what they are for. In a round, a query looks at
//   - what its neighbours matched, `step` patches above, below, left and right, moved back by as much,
//   - one position of all maps,
//   - a position near its best match so far, within a radius that is halved from half the map down to 1,
// in this order, and takes what is better. Steps go 8, 4, 2, 1, 8, ...: good matches spread fast, then
// evenly.
#pragma once

#include <cstdint>

#include "core/macros.h"
#include "neuralpatch/operators.h"

namespace neuralpatch {

constexpr int kSteps = 4;

struct Match {
  float score;  // <q, k> / |k|
  int64_t index;
};

// A map with what is computed of it.
struct NormedMap {
  const void* key;
  const bool* mask;
  const float* inverse_norm;  // [rows, columns], of each patch; 0 for a patch of zeros
  int width;                  // in pixels
  int rows, columns;          // of the patch positions
  int64_t first;
};

struct SearchMaps {
  NormedMap map[RefineMatchesArgs::kMaxMaps];
  int count;
  int64_t positions;
};

// The matches of the round before.
struct Matches {
  const int64_t* index;
  const float* score;
  const int* slot;  // [rows, columns]: which query is at a position, or -1
  int rows, columns;
};

// The finaliser of MurmurHash3, by Austin Appleby: a bijection that mixes all bits.
NEURALPATCH_HOST_DEVICE uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

// Random numbers: the `number`th of a query in a round.
NEURALPATCH_HOST_DEVICE uint32_t random_bits(uint32_t seed, uint32_t round, uint32_t position,
                                             uint32_t number) {
  return mix(mix(mix(mix(seed) ^ round) ^ position) ^ number);
}

// 16 random bits as a whole number from -radius to radius.
NEURALPATCH_HOST_DEVICE int random_offset(uint32_t bits, int radius) {
  return int((bits & 0xffffu) * (2u * uint32_t(radius) + 1) >> 16) - radius;
}

NEURALPATCH_HOST_DEVICE int map_of(const SearchMaps& maps, int64_t index) {
  int map = maps.count - 1;
  while (map > 0 && index < maps.map[map].first) --map;
  return map;
}

// The match of a query after a round. correlate(map, y, x) gives <q, k> / |k| for the patch at (y, x) of a
// map.
template <typename Correlate>
NEURALPATCH_HOST_DEVICE Match refine(const SearchMaps& maps, const Matches& before, int64_t query,
                                     int position, uint32_t seed, int round, Correlate&& correlate) {
  Match best = {before.score[query], before.index[query]};
  const auto offer = [&](int m, int y, int x) {
    const NormedMap& map = maps.map[m];
    if (y < 0 || y >= map.rows || x < 0 || x >= map.columns) return;
    const int64_t offset = int64_t(y) * map.columns + x;
    if (map.first + offset == best.index || !map.mask[offset]) return;
    const float score = correlate(m, y, x);
    if (score > best.score) best = {score, map.first + offset};
  };

  const int row = position / before.columns, column = position % before.columns;
  const int step = 1 << (kSteps - 1 - round % kSteps);
  for (int direction = 0; direction < 4; ++direction) {
    const int along = direction % 2 == 0 ? step : -step;
    const int dy = direction < 2 ? along : 0, dx = direction < 2 ? 0 : along;
    const int y = row + dy, x = column + dx;
    if (y < 0 || y >= before.rows || x < 0 || x >= before.columns) continue;
    const int neighbour = before.slot[int64_t(y) * before.columns + x];
    if (neighbour < 0) continue;
    const int64_t match = before.index[neighbour];
    const int m = map_of(maps, match);
    const int offset = int(match - maps.map[m].first), columns = maps.map[m].columns;
    offer(m, offset / columns - dy, offset % columns - dx);
  }

  const auto draw = [&](uint32_t number) {
    return random_bits(seed, uint32_t(round), uint32_t(position), number);
  };
  const int64_t anywhere = int64_t((uint64_t(draw(0)) * uint64_t(maps.positions)) >> 32);
  const int m = map_of(maps, anywhere);
  const int offset = int(anywhere - maps.map[m].first);
  offer(m, offset / maps.map[m].columns, offset % maps.map[m].columns);

  const int home = map_of(maps, best.index);
  const NormedMap& map = maps.map[home];
  const int longer = map.rows > map.columns ? map.rows : map.columns;
  uint32_t number = 1;
  for (int radius = longer / 2; radius > 0; radius /= 2, ++number) {
    const int centre = int(best.index - map.first);
    const uint32_t bits = draw(number);
    offer(home, centre / map.columns + random_offset(bits, radius),
          centre % map.columns + random_offset(bits >> 16, radius));
  }
  return best;
}

}  // namespace neuralpatch
