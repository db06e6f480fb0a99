// The search itself, and the last step, which puts its parts together.
#pragma once

#include "cuda/match/prepare.h"
#include "cuda/match/sums.h"

namespace neuralpatch::cuda {

template <int kSize, typename Product>
struct SearchShared {
  typename Product::Shared product;
  alignas(16) CorrelationTile<kSize, Product::kKeyLanes> tile;
  Candidate best[kMaxBandRows][kQueryLanes];
  Walk<typename Product::Element> walk;
};

// The pair that an item belongs to: the last whose first item is not after it.
__device__ __forceinline__ int pair_of_item(const Problem& problem, int item) {
  int low = 0, high = problem.pairs();
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (problem.first_item[middle] <= item) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Bit r: does band row r of the strip hold a selected query? The same in every thread.
template <typename T>
__device__ __forceinline__ uint32_t selected_rows(const Walk<T>& walk) {
  const DiagonalPlan& plan = walk.plan;
  const int columns = walk.pair.query_width - plan.size + 1;
  uint32_t rows = 0;
  for (int r = 0; r < plan.band_rows; ++r) {
    bool any = false;
    for (int lane = threadIdx.x % kWarp; lane <= kQueryLanes - plan.size; lane += kWarp) {
      const int row = walk.lane_row[lane] + r, column = walk.lane_column[lane];
      if (row <= plan.box.last_row && column <= plan.box.last_column) {
        any |= walk.pair.query_selected[int64_t(row) * columns + column] != 0;
      }
    }
    if (__any_sync(kAllLanes, any)) rows |= 1u << r;
  }
  return rows;
}

// Shared memory of a multiprocessor that may be used, in KB.
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ == 900
constexpr size_t kSharedPerProcessor = 228;
#elif __CUDA_ARCH__ == 800 || (__CUDA_ARCH__ >= 1000 && __CUDA_ARCH__ < 1200)
constexpr size_t kSharedPerProcessor = 164;
#else
constexpr size_t kSharedPerProcessor = __CUDA_ARCH__ < 800 ? 64 : 100;
#endif

// Where registers and shared memory allow it, two blocks share a multiprocessor: one sums diagonals while the
// other multiplies. The system takes 1 KB for each.
template <int kSize, typename Product>
constexpr int kBlocksPerProcessor =
    kSize <= 3 && 2 * (sizeof(SearchShared<kSize, Product>) + 1024) <= kSharedPerProcessor * 1024 ? 2 : 1;

// A block works through one item: a query strip of a pair against every splits-th of its key strips.
template <int kSize, typename Product>
__global__ void __launch_bounds__(kThreads, (kBlocksPerProcessor<kSize, Product>))
    search_kernel(Problem problem) {
#if defined(__CUDA_ARCH__)
  if constexpr (__CUDA_ARCH__ < Product::kLeastArch) return;  // never launched there
#endif
  const int item = blockIdx.x;
  if (item >= problem.first_item[problem.pairs()]) return;  // the host knows only a bound
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<SearchShared<kSize, Product>*>(shared_bytes);

  const int number = pair_of_item(problem, item), image = number / problem.exemplars;
  const int item_of_pair = item - problem.first_item[number];
  Walk<typename Product::Element>& walk = shared.walk;
  if (threadIdx.x == 0) {
    const KeyMaps& keys = problem.keys[number % problem.exemplars];
    walk.pair = Pair<typename Product::Element>(problem, image, keys);
    walk.plan = plan_diagonals(problem.query.box[image], kSize, keys.height, keys.width, kQueryLanes,
                               Product::kKeyLanes);
    split_plan(walk.plan, *problem.strips_per_item);
  }
  for (int i = threadIdx.x; i < kMaxBandRows * kQueryLanes; i += kThreads) {
    shared.best[i / kQueryLanes][i % kQueryLanes] = no_candidate();
  }
  __syncthreads();
  for (int lane = threadIdx.x; lane < kQueryLanes; lane += kThreads) {
    int row, column;
    const bool exists = query_lane_pixel(walk.plan, item_of_pair / walk.plan.splits, lane, &row, &column);
    walk.lane_row[lane] = exists ? row : INT_MAX / 2;
    walk.lane_column[lane] = column;
  }
  __syncthreads();
  const uint32_t query_rows = selected_rows(walk);
  if (threadIdx.x == 0) walk.query_rows = query_rows;
  __syncthreads();
  StepCursor cursor(walk, item_of_pair % walk.plan.splits);
  DiagonalSums<kSize, Product::kKeyLanes> sums;
  Product product(walk, cursor, shared.product);
  for (; !cursor.done(); cursor.advance(walk)) {
    product.compute(shared.tile);
    __syncthreads();
    sums.add(walk, cursor, shared.tile, shared.best);
  }
  __syncthreads();
  Candidate* best = problem.best + int64_t(item) * kMaxBandRows * kQueryLanes;
  for (int i = threadIdx.x; i < kMaxBandRows * kQueryLanes; i += kThreads) {
    best[i] = shared.best[i / kQueryLanes][i % kQueryLanes];
  }
}

// The best of a query's candidates in one exemplar, over the splits.
__device__ __forceinline__ Candidate best_of_pair(const Problem& problem, int image, int exemplar, int row,
                                                  int column) {
  DiagonalPlan plan = plan_pair(problem, image, problem.keys[exemplar]);
  Candidate found = no_candidate();
  if (plan.key_strips == 0) return found;
  split_plan(plan, *problem.strips_per_item);
  const QueryPlace place = place_of_query(plan, row, column);
  const int64_t first = problem.first_item[image * problem.exemplars + exemplar] + place.strip * plan.splits;
  for (int split = 0; split < plan.splits; ++split) {
    found = better_of(problem.best[((first + split) * kMaxBandRows + place.row) * kQueryLanes + place.lane],
                      found);
  }
  return found;
}

// The best over the exemplars, as an index and a normalised score.
__global__ void __launch_bounds__(kThreads)
    finish_kernel(Problem problem, const int64_t* position, int64_t queries, int64_t* index, float* score) {
  const QueryMaps& query = problem.query;
  const int positions = problem.query_positions(), columns = problem.query_columns();
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < queries;
       m += int64_t(gridDim.x) * kThreads) {
    // Where every score is NaN there is no best: the index is that of the first selected key, if there is
    // one.
    int64_t best_index = -1;
    float best_score = NAN;
    if (position[m] >= 0 && position[m] < int64_t(query.images) * positions) {
      const int image = int(position[m] / positions), at = int(position[m] % positions);
      const int row = at / columns, column = at % columns;
      for (int e = 0; e < problem.exemplars; ++e) {
        const KeyMaps& keys = problem.keys[e];
        const Candidate found = best_of_pair(problem, image, e, row, column);
        const int first_key = keys.first_selected[part_of(image, keys.masked_images)];
        const bool better = found.pixel != INT_MAX && !(found.score <= best_score);
        if (!better && (best_index >= 0 || first_key == INT_MAX)) continue;
        const int pixel = better ? found.pixel : first_key;
        best_index = keys.first_index + position_of_corner(pixel, keys.width - problem.size + 1, keys.width);
        if (better) best_score = found.score;
      }
      best_score *= inverse_norm(query.squared_norm + image * int64_t(query.pixels()),
                                 row * query.width + column, query.width, problem.size);
    }
    index[m] = best_index < 0 ? 0 : best_index;
    score[m] = best_score;
  }
}

}  // namespace neuralpatch::cuda
