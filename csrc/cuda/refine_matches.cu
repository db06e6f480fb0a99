// PatchMatch over patches of feature maps: a warp takes a query, its lanes share out the elements of a patch.
#include <algorithm>

#include "core/geometry.h"
#include "core/patchmatch.h"
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int64_t kMaxBlocks = 1 << 20;
constexpr int64_t kMaxExtent = 1 << 30;  // pixels of a side and elements of a row are counted in 32 bits

// squares[p] = |feature of pixel p|^2, one warp a pixel.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    square_pixels_kernel(const T* features, int64_t pixels, int channels, float* squares) {
  for (int64_t p = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; p < pixels;
       p += int64_t(gridDim.x) * kWarps) {
    float sum = 0;
    for (int c = threadIdx.x % kWarp; c < channels; c += kWarp) {
      const float value = to_float(features[p * channels + c]);
      sum += value * value;
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_down_sync(kAllLanes, sum, offset);
    if (threadIdx.x % kWarp == 0) squares[p] = sum;
  }
}

// inverse[y, x] = 1 / |patch at (y, x)|, 0 for a patch of zeros.
__global__ void __launch_bounds__(kThreads)
    inverse_norm_kernel(const float* squares, int width, int rows, int columns, int size, float* inverse) {
  const int64_t positions = int64_t(rows) * columns;
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < positions;
       i += int64_t(gridDim.x) * kThreads) {
    const float* corner = squares + i / columns * width + i % columns;
    float square = 0;
    for (int dy = 0; dy < size; ++dy) {
      for (int dx = 0; dx < size; ++dx) square += corner[int64_t(dy) * width + dx];
    }
    inverse[i] = square == 0 ? 0.0f : 1 / sqrtf(square);
  }
}

// slot[position of query i] = i; positions are distinct, so no two threads meet.
__global__ void __launch_bounds__(kThreads)
    place_kernel(const int64_t* position, int64_t queries, int* slot) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < queries;
       i += int64_t(gridDim.x) * kThreads) {
    slot[position[i]] = int(i);
  }
}

struct Queries {
  const void* features;
  const int64_t* position;  // [count]
  int64_t count;
  int width, columns;  // of pixels and of patch positions
  int size, channels;
};

// <q, k> / |k| for a query and the key patch at (y, x), computed by a whole warp; the same in all lanes.
template <typename T, int kPack>
struct Correlation {
  const SearchMaps& maps;
  const T* query;  // the top-left pixel of its patch
  int query_row, size, channels;

  __device__ float operator()(int m, int y, int x) const {
    const NormedMap& map = maps.map[m];
    const T* key = static_cast<const T*>(map.key) + (int64_t(y) * map.width + x) * channels;
    const T* patch = query;
    float sum = 0;
    for (int dy = 0; dy < size; ++dy, patch += query_row, key += int64_t(map.width) * channels) {
      for (int i = threadIdx.x % kWarp * kPack; i < size * channels; i += kWarp * kPack) {
        float a[kPack], b[kPack];
        load_floats<kPack>(patch + i, a);
        load_floats<kPack>(key + i, b);
#pragma unroll
        for (int j = 0; j < kPack; ++j) sum += a[j] * b[j];
      }
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    return sum * map.inverse_norm[int64_t(y) * map.columns + x];
  }
};

template <typename T, int kPack>
__device__ Correlation<T, kPack> correlation_of(const SearchMaps& maps, const Queries& queries,
                                                int64_t query) {
  const int64_t corner = corner_pixel(queries.position[query], queries.columns, queries.width);
  return {maps, static_cast<const T*>(queries.features) + corner * queries.channels,
          queries.width * queries.channels, queries.size, queries.channels};
}

// The scores of the matches to begin with.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads)
    begin_kernel(const __grid_constant__ SearchMaps maps, const __grid_constant__ Queries queries,
                 const int64_t* start, int64_t* index, float* score) {
  for (int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < queries.count;
       i += int64_t(gridDim.x) * kWarps) {
    const int m = map_of(maps, start[i]);
    const int64_t offset = start[i] - maps.map[m].first;
    const int columns = maps.map[m].columns;
    const float value =
        correlation_of<T, kPack>(maps, queries, i)(m, int(offset / columns), int(offset % columns));
    if (threadIdx.x % kWarp == 0) {
      index[i] = start[i];
      score[i] = value;
    }
  }
}

template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads, 4)
    round_kernel(const __grid_constant__ SearchMaps maps, const __grid_constant__ Queries queries,
                 const __grid_constant__ Matches before, uint32_t seed, int round, int64_t* index,
                 float* score) {
  for (int64_t i = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; i < queries.count;
       i += int64_t(gridDim.x) * kWarps) {
    const Match match = refine(maps, before, i, int(queries.position[i]), seed, round,
                               correlation_of<T, kPack>(maps, queries, i));
    if (threadIdx.x % kWarp == 0) {
      index[i] = match.index;
      score[i] = match.score;
    }
  }
}

// score[i] *= 1 / |q_i|
__global__ void __launch_bounds__(kThreads)
    normalise_kernel(const int64_t* position, int64_t queries, const float* inverse_norm, float* score) {
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < queries;
       i += int64_t(gridDim.x) * kThreads) {
    score[i] *= inverse_norm[position[i]];
  }
}

struct Buffers {
  float* squares[RefineMatchesArgs::kMaxMaps + 1];  // of each map's pixels, and the query's
  float* inverse[RefineMatchesArgs::kMaxMaps + 1];
  int* slot;
  int64_t* index;  // a second buffer beside the results'
  float* score;
  int64_t bytes;
};

int64_t positions_of(const RefineMatchesArgs& args, int64_t height, int64_t width) {
  return positions_along(height, args.size) * positions_along(width, args.size);
}

Buffers lay_out(const RefineMatchesArgs& args) {
  Allocator memory(args.workspace);
  Buffers buffers{};
  const auto norms = [&](int i, int64_t height, int64_t width) {
    buffers.squares[i] = memory.take<float>(height * width);
    buffers.inverse[i] = memory.take<float>(positions_of(args, height, width));
  };
  for (int m = 0; m < args.maps; ++m) norms(m, args.map[m].height, args.map[m].width);
  norms(args.maps, args.query_height, args.query_width);
  buffers.slot = memory.take<int>(positions_of(args, args.query_height, args.query_width));
  buffers.index = memory.take<int64_t>(args.queries);
  buffers.score = memory.take<float>(args.queries);
  buffers.bytes = memory.bytes();
  return buffers;
}

bool vectorised(const RefineMatchesArgs& args) {
  bool aligned = args.channels * element_size(args.dtype) % 16 == 0 && aligned_16(args.query);
  for (int m = 0; m < args.maps; ++m) aligned = aligned && aligned_16(args.map[m].key);
  return aligned;
}

}  // namespace

int64_t refine_matches_workspace(const RefineMatchesArgs& args) {
  RefineMatchesArgs counted = args;
  counted.workspace = nullptr;
  return lay_out(counted).bytes;
}

const char* refine_matches(const RefineMatchesArgs& args, void* stream) {
  if (args.queries == 0) return nullptr;
  if (std::max({args.query_height, args.query_width, args.size * args.channels}) > kMaxExtent) {
    return "refine_matches: a feature map is too large or has too many channels";
  }
  const Buffers buffers = lay_out(args);
  const int channels = int(args.channels), size = args.size;
  const cudaStream_t on = as_stream(stream);
  const unsigned warps = blocks_for(args.queries, kWarps, kMaxBlocks);
  const unsigned threads = blocks_for(args.queries, kThreads, kMaxBlocks);

  SearchMaps maps{};
  maps.count = args.maps;
  for (int m = 0; m < args.maps; ++m) {
    const SearchMap& map = args.map[m];
    const int64_t rows = positions_along(map.height, size), columns = positions_along(map.width, size);
    maps.map[m] = {map.key, map.mask, buffers.inverse[m], int(map.width), int(rows), int(columns), map.first};
    maps.positions = map.first + rows * columns;
  }
  const int rows = int(positions_along(args.query_height, size));
  const int columns = int(positions_along(args.query_width, size));
  const cudaError_t error =
      cudaMemsetAsync(buffers.slot, 0xff, int64_t(rows) * columns * sizeof(int), on);  // -1 everywhere
  if (error != cudaSuccess) return error_text(error);
  place_kernel<<<threads, kThreads, 0, on>>>(args.query_position, args.queries, buffers.slot);

  return with_pack(args.dtype, vectorised(args), [&](auto type, auto pack) {
    using T = typename decltype(type)::type;
    constexpr int kPack = decltype(pack)::value;
    const auto norms = [&](int i, const void* features, int64_t height, int64_t width) {
      const int64_t positions = positions_of(args, height, width);
      square_pixels_kernel<T><<<blocks_for(height * width, kWarps, kMaxBlocks), kThreads, 0, on>>>(
          static_cast<const T*>(features), height * width, channels, buffers.squares[i]);
      inverse_norm_kernel<<<blocks_for(positions, kThreads, kMaxBlocks), kThreads, 0, on>>>(
          buffers.squares[i], int(width), int(positions_along(height, size)),
          int(positions_along(width, size)), size, buffers.inverse[i]);
    };
    for (int m = 0; m < args.maps; ++m) norms(m, args.map[m].key, args.map[m].height, args.map[m].width);
    norms(args.maps, args.query, args.query_height, args.query_width);

    // Rounds alternate between two buffers, so that the last one writes the results.
    const Queries queries{args.query, args.query_position, args.queries, int(args.query_width), columns, size,
                          channels};
    int64_t* index[2] = {args.index, buffers.index};
    float* score[2] = {args.score, buffers.score};
    int now = args.rounds % 2;
    begin_kernel<T, kPack><<<warps, kThreads, 0, on>>>(maps, queries, args.start, index[now], score[now]);
    for (int round = 0; round < args.rounds; ++round, now = 1 - now) {
      const Matches before{index[now], score[now], buffers.slot, rows, columns};
      round_kernel<T, kPack><<<warps, kThreads, 0, on>>>(maps, queries, before, args.seed, round,
                                                         index[1 - now], score[1 - now]);
    }
    normalise_kernel<<<threads, kThreads, 0, on>>>(args.query_position, args.queries,
                                                   buffers.inverse[args.maps], args.score);
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
