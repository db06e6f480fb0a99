// Tiles of D by tensor cores.
#pragma once

#include "core/copy.h"
#include "core/tensor_core.h"
#include "cuda/match/sums.h"

namespace neuralpatch::cuda {

// A warp computes 32 x 32 correlations. cp.async fills a ring of stages ahead of the products. A stage holds
// one chunk of the elements, or two where a multiprocessor has the room: half as many barriers, and a fifth
// less time on an H200.
//
// With kTerms = 1, elements are channels. With kTerms = 2, they are the terms of float32 channels (see
// measure_pixels_kernel), and the product of a = a1 + a2 and b = b1 + b2 is a1 b2 + a2 b1 + a1 b1: the
// missing a2 b2 is 2^-18 of it or less, as is what the terms leave out.
template <typename T, int kTerms, int kChunks>
class TensorCoreProduct {
 public:
  using Element = T;
  static constexpr int kLeastArch = kChunks == 1 ? 800 : 900;
  static constexpr int kKeyLanes = 128;
  static constexpr int kChunk = 32;  // elements
  static constexpr int kStages = kChunks == 1 ? 3 : 2;

  struct Shared {
    alignas(16) T query[kStages][kChunks][kQueryLanes * kChunk];
    alignas(16) T key[kStages][kChunks][kKeyLanes * kChunk];
  };

  __device__ TensorCoreProduct(const Walk<T>& walk, const StepCursor& start, Shared& shared)
      : walk_(walk), load_(walk, start), shared_(shared) {
    for (int i = 0; i < kStages - 1; ++i) fetch(i);
  }

  // Ends without a barrier after the writes to `tile`, and begins with one before them.
  template <int kSize>
  __device__ __forceinline__ void compute(CorrelationTile<kSize, kKeyLanes>& tile) {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int query = warp / kWarpColumns * kWarpTile, key = warp % kWarpColumns * kWarpTile;
    const int rows = rows_at(query), columns = columns_at(key);
    Sums sum = {};
#pragma unroll 1
    for (int left = walk_.pair.elements; left > 0; left -= kChunks * kChunk) {
      wait_copies<kStages - 2>();
      __syncthreads();  // the stage has arrived for all threads, and all have done with the one that is
                        // filled next
      fetch(stage_ == 0 ? kStages - 1 : stage_ - 1);
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) multiply_chunk(chunk, rows, columns, sum);
      stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
    }
#pragma unroll
    for (int m = 0; m < kRowFragments; ++m) {
#pragma unroll
      for (int n = 0; n < kColumnFragments; ++n) {
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
          const MatrixElement at = fragment_c(lane, i);
          *reinterpret_cast<float2*>(&tile.x[query + m * 16 + at.row][key + n * 8 + at.column]) =
              make_float2(sum[m][n].x[i], sum[m][n].x[i + 1]);
        }
      }
    }
  }

 private:
  static constexpr int kWarpTile = 32;
  static constexpr int kWarpColumns = kKeyLanes / kWarpTile;
  static constexpr int kSegment = 8;  // elements of 16 bytes, the unit of copies and of ldmatrix
  static constexpr int kSegments = kChunk / kSegment;
  static_assert(kQueryLanes / kWarpTile * kWarpColumns == kWarps, "one warp tile each");
  static_assert(kSegments == 4, "the swizzle is for rows of 64 bytes");

  // Where segment s of a lane lies: eight consecutive lanes' segments fall into different banks.
  static __device__ __forceinline__ int swizzled(int lane, int segment) {
    return lane * kChunk + (segment ^ (lane / 2 % kSegments)) * kSegment;
  }

  static constexpr int kRowFragments = kWarpTile / 16, kColumnFragments = kWarpTile / 8;
  using Sums = FragmentC[kRowFragments][kColumnFragments];
  using RowFragments = FragmentA[kRowFragments];
  using ColumnFragments = FragmentB[kColumnFragments];

  // Where this lane's pointers for ldmatrix begin in a stage. The swizzle repeats every eight lanes, so that
  // fragments further down lie at a fixed distance, and the chunk's other half in the segments with bit 1
  // flipped.
  static constexpr int kOtherHalf = kSegments / 2 * kSegment;
  static __device__ __forceinline__ int rows_at(int query) {
    const int lane = threadIdx.x % kWarp;
    return swizzled(query + lane % 16, lane / 16);
  }
  static __device__ __forceinline__ int columns_at(int key) {
    const int lane = threadIdx.x % kWarp;
    return swizzled(key + lane % 8 + lane / 16 * 8, lane / 8 % 2);
  }

  // `rows` and `columns` are those places. Of each side, one set of fragments at a time is in registers.
  __device__ __forceinline__ void multiply_chunk(int chunk, int rows, int columns, Sums& sum) const {
    RowFragments a;
    ColumnFragments b;
    load_rows(chunk, rows, a);
    if constexpr (kTerms == 1) {
      load_columns(chunk, columns, b);
      multiply(a, b, sum);
      load_rows(chunk, rows ^ kOtherHalf, a);
      load_columns(chunk, columns ^ kOtherHalf, b);
    } else {
      load_columns(chunk, columns ^ kOtherHalf, b);
      multiply(a, b, sum);
      load_columns(chunk, columns, b);
      multiply(a, b, sum);
      load_rows(chunk, rows ^ kOtherHalf, a);
    }
    multiply(a, b, sum);
  }

  __device__ __forceinline__ void load_rows(int chunk, int rows, RowFragments& a) const {
#pragma unroll
    for (int m = 0; m < kRowFragments; ++m) {
      load_matrices(&shared_.query[stage_][chunk][rows + m * 16 * kChunk], a[m].pairs);
    }
  }
  __device__ __forceinline__ void load_columns(int chunk, int columns, ColumnFragments& b) const {
#pragma unroll
    for (int n = 0; n < kColumnFragments; n += 2) {
      uint32_t pairs[4];
      load_matrices(&shared_.key[stage_][chunk][columns + n * 8 * kChunk], pairs);
      b[n] = {{pairs[0], pairs[1]}};
      b[n + 1] = {{pairs[2], pairs[3]}};
    }
  }

  static __device__ __forceinline__ void multiply(const RowFragments& a, const ColumnFragments& b,
                                                  Sums& sum) {
#pragma unroll
    for (int m = 0; m < kRowFragments; ++m) {
#pragma unroll
      for (int n = 0; n < kColumnFragments; ++n) multiply_add<T>(sum[m][n], a[m], b[n]);
    }
  }

  // Starts the copies of the next chunk, to a stage that has been read. Commits a group even when there is
  // nothing left, so that groups count chunks.
  __device__ __forceinline__ void fetch(int stage) {
    if (!load_.at.done()) {
      constexpr int kLanes = kThreads / kSegments;  // at a time
      static_assert(kLanes % 8 == 0, "the swizzle repeats every eight lanes");
      const int lane = threadIdx.x / kSegments, segment = threadIdx.x % kSegments;
      const int place = swizzled(lane, segment);
#pragma unroll(kTerms == 1 ? kChunks : 1)  // with two terms, registers are short
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const int element = load_.element + chunk * kChunk + segment * kSegment;
#pragma unroll
        for (int first = 0; first < kQueryLanes; first += kLanes) {
          copy(load_.at.query_pixel(walk_, first + lane), walk_.pair.query, element,
               &shared_.query[stage][chunk][place + first * kChunk]);
        }
#pragma unroll
        for (int first = 0; first < kKeyLanes; first += kLanes) {
          copy(load_.at.key_pixel(walk_, first + lane), walk_.pair.key, element,
               &shared_.key[stage][chunk][place + first * kChunk]);
        }
      }
      load_.advance();
    }
    commit_copies();
  }

  __device__ __forceinline__ void copy(const T* pixel, const T* anywhere, int element, T* destination) const {
    const bool inside = pixel != nullptr && element < walk_.pair.elements;
    start_copy_16(destination, inside ? pixel + element : anywhere, inside);
  }

  const Walk<T>& walk_;
  LoadCursor<T, kChunks * kChunk> load_;
  Shared& shared_;
  int stage_ = 0;
};

}  // namespace neuralpatch::cuda
