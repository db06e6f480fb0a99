// The walk along diagonals: which steps an item takes, and which pixels lie under a tile at each.
#pragma once

#include "core/diagonals.h"
#include "cuda/match/problem.h"

namespace neuralpatch::cuda {

// What is the same for a whole item, in shared memory: registers are short.
template <typename T>
struct Walk {
  Pair<T> pair;
  DiagonalPlan plan;
  uint32_t query_rows;  // a bit for each band row with a selected query
  // The query pixels of the strip, at the first row of their bands.
  int lane_row[kQueryLanes];  // INT_MAX / 2 where there is no pixel
  int lane_column[kQueryLanes];
};

// The steps of an item that are worth doing, in order. All threads of a block walk alike.
class StepCursor {
 public:
  template <typename T>
  __device__ StepCursor(const Walk<T>& walk, int split) : strip_(split), rows_(0), step_(0) {
    find_strip(walk);
  }

  __device__ bool done() const { return rows_ == 0; }
  __device__ int step() const { return int(step_); }

  // Pixel of the first key lane at this step.
  template <typename T>
  __device__ int first_key_pixel(const Walk<T>& walk) const {
    return key_strip_pixel(walk.plan, strip_) + step() * walk.plan.key_width;
  }

  // The band row that this step completes, or -1 where it completes none that is needed.
  __device__ int completed_row(int size) const {
    const int row = step() - (size - 1);
    return row >= 0 && (uint32_t(rows_) >> row & 1) ? row : -1;
  }

  // The pixel under a lane, or nullptr outside the map.
  template <typename T>
  __device__ const T* query_pixel(const Walk<T>& walk, int lane) const {
    const int row = walk.lane_row[lane] + step();
    if (row >= walk.pair.query_height) return nullptr;
    return walk.pair.query +
           (int64_t(row) * walk.pair.query_width + walk.lane_column[lane]) * walk.pair.elements;
  }
  template <typename T>
  __device__ const T* key_pixel(const Walk<T>& walk, int lane) const {
    const int pixel = first_key_pixel(walk) + lane;
    if (pixel < 0 || pixel >= walk.pair.key_height * walk.pair.key_width) return nullptr;
    return walk.pair.key + int64_t(pixel) * walk.pair.elements;
  }

  template <typename T>
  __device__ void advance(const Walk<T>& walk) {
    const uint32_t steps = steps_for_rows(rows_, walk.plan.size) & ~1u << step_;
    if (steps != 0) {
      step_ = uint32_t(__ffs(int(steps))) - 1;
    } else {
      strip_ += walk.plan.splits;
      find_strip(walk);
    }
  }

 private:
  // Moves on to the first strip, from strip_, where a row has both selected queries and selected keys.
  template <typename T>
  __device__ void find_strip(const Walk<T>& walk) {
    const DiagonalPlan& plan = walk.plan;
    const int pixels = walk.pair.key_height * walk.pair.key_width;
    rows_ = 0;
    for (; strip_ < plan.key_strips; strip_ += plan.splits) {
      const int row = threadIdx.x % kWarp;  // each lane looks at one band row
      const int64_t begin = key_strip_pixel(plan, strip_) + int64_t(row) * plan.key_width;
      const int64_t end = begin + plan.key_lanes - (plan.size - 1);
      const bool any =
          (walk.query_rows >> row & 1) &&
          any_bit(walk.pair.key_bits, int(max(begin, int64_t(0))), int(min(end, int64_t(pixels))));
      rows_ = __ballot_sync(kAllLanes, any);
      if (rows_ == 0) continue;
      step_ = uint32_t(__ffs(int(rows_))) - 1;
      return;
    }
  }

  int strip_;
  // In one register: the band rows of this strip that are needed, none at the end, and the step.
  uint32_t rows_ : kMaxBandRows, step_ : 32 - kMaxBandRows;
};

// Runs ahead of the walk, one chunk of kChunk elements at a time, to say what to load next.
template <typename T, int kChunk>
class LoadCursor {
 public:
  __device__ LoadCursor(const Walk<T>& walk, const StepCursor& start) : at(start), walk_(walk) {}

  __device__ void advance() {
    element += kChunk;
    if (element < walk_.pair.elements) return;
    element = 0;
    at.advance(walk_);
  }

  StepCursor at;
  int element = 0;

 private:
  const Walk<T>& walk_;
};

}  // namespace neuralpatch::cuda
