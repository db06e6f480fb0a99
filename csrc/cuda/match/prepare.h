// The kernels before the search: norms, terms, selections, and the plan.
#pragma once

#include "cuda/match/problem.h"

namespace neuralpatch::cuda {

// float32 features as two bfloat16 terms: the value rounded, and the rest rounded. Together they hold 16
// bits. A pixel's channels are stored in groups of kTermGroup: first terms, then second terms, with zeros
// after the last channel.
constexpr int kTermGroup = 16;

inline int64_t term_elements(int64_t channels) {
  return (channels + kTermGroup - 1) / kTermGroup * kTermGroup * 2;
}

// Descriptions of some exemplars, small enough for a kernel's parameters.
struct KeyMapsChunk {
  static constexpr int kMost = 24;
  KeyMaps maps[kMost];
};
static_assert(sizeof(KeyMapsChunk) + sizeof(Problem) < 4096, "parameters are limited to 4 KB");

// Writes exemplars [first, first + count) to device memory, and starts the minima and maxima.
__global__ void __launch_bounds__(kThreads)
    store_keys_kernel(Problem problem, KeyMapsChunk chunk, int first, int count) {
  for (int i = threadIdx.x; i < problem.query.images; i += kThreads) {
    if (first == 0) problem.query.box[i] = {INT_MAX, -1, INT_MAX, -1};
    for (int e = 0; e < count; ++e) {
      if (i < chunk.maps[e].masked_images) chunk.maps[e].first_selected[i] = INT_MAX;
    }
  }
  for (int e = threadIdx.x; e < count; e += kThreads) problem.keys[first + e] = chunk.maps[e];
}

// Squared norm of every pixel of the queries and keys, and its two terms if kSplit; a warp takes a pixel.
template <typename T, bool kSplit>
__global__ void __launch_bounds__(kThreads) measure_pixels_kernel(Problem problem) {
  const FeatureMaps maps =
      blockIdx.y == 0 ? FeatureMaps(problem.query) : FeatureMaps(problem.keys[blockIdx.y - 1]);
  const int64_t pixels = int64_t(maps.images) * maps.pixels();
  const int extent = kSplit ? problem.elements / 2 : problem.channels;
  for (int64_t pixel = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; pixel < pixels;
       pixel += int64_t(gridDim.x) * kWarps) {
    const T* source = static_cast<const T*>(maps.features) + pixel * problem.channels;
    float sum = 0;
    for (int c = threadIdx.x % kWarp; c < extent; c += kWarp) {
      const float value = c < problem.channels ? to_float(source[c]) : 0.0f;
      sum += value * value;
      if constexpr (kSplit) {
        auto* terms = static_cast<__nv_bfloat16*>(const_cast<void*>(maps.elements)) +
                      pixel * problem.elements + c / kTermGroup * (2 * kTermGroup) + c % kTermGroup;
        const __nv_bfloat16 rounded = from_float<__nv_bfloat16>(value);
        terms[0] = rounded;
        terms[kTermGroup] = from_float<__nv_bfloat16>(value - to_float(rounded));
      }
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    if (threadIdx.x % kWarp == 0) maps.squared_norm[pixel] = sum;
  }
}

// 1 / norm of the patch whose corner is `pixel`; 0 for a zero norm.
__device__ __forceinline__ float inverse_norm(const float* squared_norm, int64_t pixel, int width, int size) {
  float sum = 0;
  for (int dy = 0; dy < size; ++dy) {
    for (int dx = 0; dx < size; ++dx) sum += squared_norm[pixel + int64_t(dy) * width + dx];
  }
  return sum > 0 ? 1.0f / sqrtf(sum) : 0.0f;
}

// Positions out of range are passed over: nothing can be raised from here.
__global__ void __launch_bounds__(kThreads)
    mark_queries_kernel(Problem problem, const int64_t* position, int64_t queries) {
  const int64_t positions = int64_t(problem.query.images) * problem.query_positions();
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < queries;
       m += int64_t(gridDim.x) * kThreads) {
    if (position[m] >= 0 && position[m] < positions) problem.query.selected[position[m]] = 1;
  }
}

// The box around each image's selected queries. Integer minima: the order does not matter.
__global__ void __launch_bounds__(kThreads) query_box_kernel(Problem problem) {
  const int columns = problem.query_columns(), positions = problem.query_positions();
  for (int image = blockIdx.y; image < problem.query.images; image += gridDim.y) {
    const uint8_t* selected = problem.query.selected + image * int64_t(positions);
    int first_row = INT_MAX, last_row = -1, first_column = INT_MAX, last_column = -1;
    for (int at = blockIdx.x * kThreads + threadIdx.x; at < positions; at += gridDim.x * kThreads) {
      if (selected[at] == 0) continue;
      first_row = min(first_row, at / columns);
      last_row = max(last_row, at / columns);
      first_column = min(first_column, at % columns);
      last_column = max(last_column, at % columns);
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      first_row = min(first_row, __shfl_xor_sync(kAllLanes, first_row, offset));
      last_row = max(last_row, __shfl_xor_sync(kAllLanes, last_row, offset));
      first_column = min(first_column, __shfl_xor_sync(kAllLanes, first_column, offset));
      last_column = max(last_column, __shfl_xor_sync(kAllLanes, last_column, offset));
    }
    if (threadIdx.x % kWarp == 0 && last_row >= 0) {
      QueryBox& box = problem.query.box[image];
      atomicMin(&box.first_row, first_row);
      atomicMax(&box.last_row, last_row);
      atomicMin(&box.first_column, first_column);
      atomicMax(&box.last_column, last_column);
    }
  }
}

// The scale, bits and first_selected of the keys; a warp takes the 32 pixels of a word.
__global__ void __launch_bounds__(kThreads) scale_keys_kernel(Problem problem) {
  const KeyMaps& keys = problem.keys[blockIdx.y];
  const int pixels = keys.pixels(), words = keys.words(), size = problem.size;
  const int rows = keys.height - size + 1, columns = keys.width - size + 1;
  for (int64_t n = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp;
       n < int64_t(keys.masked_images) * words; n += int64_t(gridDim.x) * kWarps) {
    const int image = int(n / words), pixel = int(n % words) * 32 + threadIdx.x % kWarp;
    const int row = pixel / keys.width, column = pixel % keys.width;
    const bool* mask = keys.mask + part_of(image, keys.mask_images) * rows * columns;
    const bool selected = row < rows && column < columns && mask[row * columns + column];
    if (pixel < pixels) {
      const float* squared_norm = keys.squared_norm + part_of(image, keys.images) * pixels;
      keys.scale[int64_t(image) * pixels + pixel] =
          selected ? inverse_norm(squared_norm, pixel, keys.width, size) : kNotSelected;
    }
    const uint32_t bits = __ballot_sync(kAllLanes, selected);
    if (threadIdx.x % kWarp == 0) {
      keys.bits[n] = bits;
      if (bits != 0) atomicMin(&keys.first_selected[image], pixel + __ffs(int(bits)) - 1);
    }
  }
}

// Divides the work of all pairs into items and numbers them. For one warp, of which each lane takes a range
// of pairs.
__global__ void __launch_bounds__(kWarp) plan_items_kernel(Problem problem) {
  const int lane = threadIdx.x, each = divide_up(problem.pairs(), kWarp);
  const int begin = min(lane * each, problem.pairs()), end = min(begin + each, problem.pairs());
  const auto plan_of = [&](int pair) {
    return plan_pair(problem, pair / problem.exemplars, problem.keys[pair % problem.exemplars]);
  };
  int64_t work = 0;
  for (int pair = begin; pair < end; ++pair) work += strip_pairs(plan_of(pair));
  for (int offset = kWarp / 2; offset > 0; offset /= 2) work += __shfl_xor_sync(kAllLanes, work, offset);
  const int64_t strips = strips_per_item(work, kTargetItems);

  int items = 0;
  for (int pair = begin; pair < end; ++pair) {
    DiagonalPlan plan = plan_of(pair);
    split_plan(plan, strips);
    items += items_of(plan);
  }
  int after = items;  // of the lanes up to this one
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int before = __shfl_sync(kAllLanes, after, max(lane - offset, 0));
    if (lane >= offset) after += before;
  }
  int first = after - items;
  for (int pair = begin; pair < end; ++pair) {
    DiagonalPlan plan = plan_of(pair);
    split_plan(plan, strips);
    problem.first_item[pair] = first;
    first += items_of(plan);
  }
  if (lane == kWarp - 1) {
    problem.first_item[problem.pairs()] = after;
    *problem.strips_per_item = strips;
  }
}

}  // namespace neuralpatch::cuda
