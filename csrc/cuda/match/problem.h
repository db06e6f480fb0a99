// What the kernels of a search share: its maps, its plan, and its candidates.
#pragma once

#include <climits>

#include "core/diagonals.h"
#include "core/geometry.h"
#include "cuda/launch.h"

namespace neuralpatch::cuda {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kQueryLanes = 64;  // of a tile
constexpr int kMaxSize = 7;
constexpr int kTargetItems = 1024;  // a few for every block of a large GPU
constexpr float kNotSelected = -1.0f;

// A key patch, by its corner pixel, and its correlation with a query patch over the key's norm.
struct Candidate {
  float score;
  int pixel;
};

__device__ __forceinline__ Candidate no_candidate() { return {-3.402823466e+38f, INT_MAX}; }

// Ties go to the lowest pixel, which is the lowest position too.
__device__ __forceinline__ Candidate better_of(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.pixel < b.pixel) ? a : b;
}

// Feature maps of one size, of several images.
struct FeatureMaps {
  const void* features;  // [images, height, width, channels]
  const void* elements;  // [images, height, width, elements]: the same, as the products read them
  int images, height, width;
  float* squared_norm;  // [images, height, width]
  __host__ __device__ int pixels() const { return height * width; }
};

struct QueryMaps : FeatureMaps {
  uint8_t* selected;  // [images, positions]
  QueryBox* box;      // [images]: around the selected positions
};

struct KeyMaps : FeatureMaps {
  const bool* mask;  // [mask_images, positions]
  int mask_images;
  int masked_images;    // of the arrays below: as many as there are maps, or masks
  float* scale;         // [.., pixels]: 1 / |patch at this corner|, 0 for a zero norm, or kNotSelected
  uint32_t* bits;       // [.., words()]: is the patch at this corner selected?
  int* first_selected;  // [..]: lowest selected corner pixel, or INT_MAX
  int64_t first_index;  // of the exemplar's positions, in the result
  __host__ __device__ int words() const { return divide_up(pixels(), 32); }
};

// Where image `image` finds its part of an array that has one part for each image, or one for all.
__device__ __forceinline__ int64_t part_of(int image, int parts) { return parts == 1 ? 0 : image; }

// A search: every image with every exemplar. An image and an exemplar make a pair, number image * exemplars +
// exemplar.
struct Problem {
  QueryMaps query;
  KeyMaps* keys;  // [exemplars], in device memory
  int exemplars, channels, elements, size, key_lanes;
  int64_t* strips_per_item;  // one value
  int* first_item;           // [pairs + 1]: numbers of the pairs' items, and of all
  Candidate* best;           // [items, kMaxBandRows, kQueryLanes]
  __host__ __device__ int pairs() const { return query.images * exemplars; }
  __host__ __device__ int query_columns() const { return query.width - size + 1; }
  __host__ __device__ int query_positions() const { return (query.height - size + 1) * query_columns(); }
};

// A pair's plan, not yet split; without strips where there is no query or no key.
__device__ __forceinline__ DiagonalPlan plan_pair(const Problem& problem, int image, const KeyMaps& key) {
  const QueryBox box = problem.query.box[image];
  if (box.last_row < 0 || key.first_selected[part_of(image, key.masked_images)] == INT_MAX) {
    return DiagonalPlan{};
  }
  return plan_diagonals(box, problem.size, key.height, key.width, kQueryLanes, problem.key_lanes);
}

// What a block needs of a pair. T is the type of the products' elements.
template <typename T>
struct Pair {
  const T* query;  // [query_height, query_width, elements]
  const T* key;    // [key_height, key_width, elements]
  int elements, query_height, query_width, key_height, key_width;
  const uint8_t* query_selected;
  const float* key_scale;
  const uint32_t* key_bits;

  __device__ Pair(const Problem& problem, int image, const KeyMaps& keys)
      : query(static_cast<const T*>(problem.query.elements) +
              image * int64_t(problem.query.pixels()) * problem.elements),
        key(static_cast<const T*>(keys.elements) +
            part_of(image, keys.images) * keys.pixels() * problem.elements),
        elements(problem.elements),
        query_height(problem.query.height),
        query_width(problem.query.width),
        key_height(keys.height),
        key_width(keys.width),
        query_selected(problem.query.selected + image * int64_t(problem.query_positions())),
        key_scale(keys.scale + part_of(image, keys.masked_images) * keys.pixels()),
        key_bits(keys.bits + part_of(image, keys.masked_images) * keys.words()) {}
};

}  // namespace neuralpatch::cuda
