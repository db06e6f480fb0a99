// From tiles of D to the best candidates: sums along diagonals, scores, and their maxima.
#pragma once

#include "cuda/match/walk.h"

namespace neuralpatch::cuda {

// Correlations of a tile's pixels, in shared memory. The rows of the margin are read, for patches that do not
// fit into the tile, but never used. The pitch spreads a tensor-core fragment's rows over the banks.
template <int kSize, int kKeyLanes>
struct CorrelationTile {
  static constexpr int kPitch = kKeyLanes + 8;
  float x[kQueryLanes + kSize - 1][kPitch];
};

// The best of each of kRows rows of candidates over kWidth neighbouring lanes. Halves the rows with the lanes
// as long as it can, so that an exchange seldom moves a candidate twice. Lane l ends up with row l / (kWidth
// / kRows).
template <int kRows, int kWidth>
__device__ __forceinline__ Candidate best_over_lanes(Candidate (&best)[kRows]) {
  constexpr int kOffset = kWidth / 2;
  if constexpr (kWidth == 1) {
    return best[0];
  } else if constexpr (kRows > 1) {
    constexpr int kHalf = kRows / 2;
    const bool upper = (threadIdx.x & kOffset) != 0;
    Candidate kept[kHalf];
#pragma unroll
    for (int r = 0; r < kHalf; ++r) {
      const Candidate mine = upper ? best[r + kHalf] : best[r];
      const Candidate sent = upper ? best[r] : best[r + kHalf];
      const Candidate received = {__shfl_xor_sync(kAllLanes, sent.score, kOffset),
                                  __shfl_xor_sync(kAllLanes, sent.pixel, kOffset)};
      kept[r] = better_of(mine, received);
    }
    return best_over_lanes<kHalf, kOffset>(kept);
  } else {
    const Candidate received = {__shfl_xor_sync(kAllLanes, best[0].score, kOffset),
                                __shfl_xor_sync(kAllLanes, best[0].pixel, kOffset)};
    Candidate merged[1] = {better_of(best[0], received)};
    return best_over_lanes<1, kOffset>(merged);
  }
}

// Adds up tiles of D along the walk, and scores the patches that a step completes. A thread has kRows query
// lanes and kColumns key lanes; it keeps, for each pair, the sums of the patches that began 1 .. kSize - 1
// steps ago.
template <int kSize, int kKeyLanes>
class DiagonalSums {
 public:
  static constexpr int kColumns = 4;
  static constexpr int kGroup = kKeyLanes / kColumns;  // threads with the same query lanes, within a warp
  static constexpr int kRows = kQueryLanes * kGroup / kThreads;
  static_assert(kGroup <= kWarp && kRows >= 1 && kRows <= kGroup, "a warp must hold whole rows");

  // One step: tile is D at this step. `best` is the table of this item; its entry is updated by always the
  // same thread.
  template <typename T>
  __device__ __forceinline__ void add(const Walk<T>& walk, const StepCursor& cursor,
                                      const CorrelationTile<kSize, kKeyLanes>& tile,
                                      Candidate (&best)[kMaxBandRows][kQueryLanes]) {
    float sum[kRows][kColumns];
    add_columns(tile, sum);
    add_rows(sum);
    const int row = cursor.completed_row(kSize);
    if (row < 0) return;

    const int first_pixel = cursor.first_key_pixel(walk) - (kSize - 1) * walk.plan.key_width + first_column();
    const int pixels = walk.pair.key_height * walk.pair.key_width;
    float scale[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int pixel = first_pixel + c;
      const bool inside = first_column() + c <= kKeyLanes - kSize && pixel >= 0 && pixel < pixels;
      scale[c] = inside ? walk.pair.key_scale[pixel] : kNotSelected;
    }
    Candidate found[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      found[r] = no_candidate();
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const float score = sum[r][c] * scale[c];
        // Pixels ascend: the first of a tie stays.
        if (scale[c] >= 0 && score > found[r].score) found[r] = {score, first_pixel + c};
      }
    }
    const Candidate winner = best_over_lanes<kRows, kGroup>(found);
    constexpr int kLanesPerRow = kGroup / kRows;
    const int lane = threadIdx.x % kGroup;
    if (lane % kLanesPerRow == 0) {
      Candidate& entry = best[row][first_row() + lane / kLanesPerRow];
      entry = better_of(entry, winner);
    }
  }

 private:
  // Of the thread's lanes.
  static __device__ __forceinline__ int first_row() { return threadIdx.x / kGroup * kRows; }
  static __device__ __forceinline__ int first_column() { return threadIdx.x % kGroup * kColumns; }

  // sum[r][c] = D[r, c] + D[r + 1, c + 1] + ...: one row of pixels of the patches. The columns to the right
  // come from the neighbouring lanes, which have just read them: from shared memory, every fourth float at a
  // time, they would meet in the same banks. What the last lanes of a group get is never used.
  __device__ __forceinline__ void add_columns(const CorrelationTile<kSize, kKeyLanes>& tile,
                                              float (&sum)[kRows][kColumns]) {
#pragma unroll
    for (int line = 0; line < kRows + kSize - 1; ++line) {
      float values[kColumns + kSize - 1];
      const float4 own = *reinterpret_cast<const float4*>(&tile.x[first_row() + line][first_column()]);
      values[0] = own.x;
      values[1] = own.y;
      values[2] = own.z;
      values[3] = own.w;
#pragma unroll
      for (int i = 0; i < kSize - 1; ++i) {
        values[kColumns + i] =
            __shfl_down_sync(kAllLanes, values[i % kColumns], unsigned(i / kColumns + 1), kWarp);
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const int dx = line - r;
        if (dx < 0 || dx >= kSize) continue;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) sum[r][c] = dx == 0 ? values[c] : sum[r][c] + values[c + dx];
      }
    }
  }

  // Replaces the row sums of this step by the sums of the patches it completes.
  __device__ __forceinline__ void add_rows(float (&sum)[kRows][kColumns]) {
    if constexpr (kSize > 1) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const float row_sum = sum[r][c];
          sum[r][c] = partial_[kSize - 2][r][c] + row_sum;
#pragma unroll
          for (int age = kSize - 2; age > 0; --age) partial_[age][r][c] = partial_[age - 1][r][c] + row_sum;
          partial_[0][r][c] = row_sum;
        }
      }
    }
  }

  float partial_[kSize > 1 ? kSize - 1 : 1][kRows][kColumns] = {};
};

}  // namespace neuralpatch::cuda
