// Exact search for the best-correlated patch, by sums along the shifted diagonals of pixel correlations.
//
// With D[a, b] = <query pixel a, key pixel b>, the correlation of two patches is S[q, k] = sum over offsets d
// of D[q + d, k + d]. D exists only as a tile on the chip: a block takes a row of query pixels and a row of
// key pixels, computes their tile of D, adds up its shifted diagonals (one row of the patches), adds the last
// `size` such rows (the patches), and moves both pixel rows down by one. core/diagonals.h says how the maps
// are cut into such walks. D costs a size^2-th of the multiplications of the product of unfolded patches.
//
// Two ways of computing a tile: float32 multiply-adds, for every device and input, and tensor cores. The rest
// is shared.
#include <climits>

#include "core/copy.h"
#include "core/diagonals.h"
#include "core/geometry.h"
#include "core/tensor_core.h"
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kQueryLanes = 64;     // of a tile
constexpr int kLeastKeyLanes = 64;  // of a tile, in either variant
constexpr int kMaxSize = 7;
constexpr int kTargetItems = 1024;                // a few for every block of a large GPU
constexpr int64_t kMaxPixels = int64_t(1) << 28;  // pixels and lanes are counted in 32 bits
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

// What the preparation finds out and the search reads. In device memory.
struct Summary {
  QueryBox box;
  int first_key;  // lowest selected corner pixel
};

template <typename T>
struct MatchProblem {
  const T* query;  // [query_height, query_width, channels]
  const T* key;    // [key_height, key_width, channels]
  int channels, query_height, query_width, key_height, key_width, size;
  const Summary* summary;
  const uint8_t* query_selected;  // [query positions]
  const float* key_scale;    // [key pixels]: 1 / |patch at this corner|, 0 for a zero norm, or kNotSelected
  const uint32_t* key_bits;  // [key pixels / 32]: is the patch at this corner selected?
  Candidate* best;           // [items, kMaxBandRows, kQueryLanes]
};

// ----------------------------------------------------------------------------------------------------
// Preparation
// ----------------------------------------------------------------------------------------------------

__global__ void start_summary_kernel(Summary* summary) { *summary = {{INT_MAX, -1, INT_MAX, -1}, INT_MAX}; }

// Squared norm of every pixel; a warp takes a pixel.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pixel_norm_kernel(const T* map, int64_t pixels, int channels, float* squared_norm) {
  for (int64_t pixel = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; pixel < pixels;
       pixel += int64_t(gridDim.x) * kWarps) {
    float sum = 0;
    for (int c = threadIdx.x % kWarp; c < channels; c += kWarp) {
      const float value = to_float(map[pixel * channels + c]);
      sum += value * value;
    }
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    if (threadIdx.x % kWarp == 0) squared_norm[pixel] = sum;
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

// Marks the selected queries and finds their bounding box. Integer minima: the order does not matter.
__global__ void __launch_bounds__(kThreads)
    mark_queries_kernel(const int64_t* position, int64_t queries, int columns, uint8_t* selected,
                        Summary* summary) {
  int first_row = INT_MAX, last_row = -1, first_column = INT_MAX, last_column = -1;
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < queries;
       m += int64_t(gridDim.x) * kThreads) {
    const int at = int(position[m]);
    selected[at] = 1;
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
    atomicMin(&summary->box.first_row, first_row);
    atomicMax(&summary->box.last_row, last_row);
    atomicMin(&summary->box.first_column, first_column);
    atomicMax(&summary->box.last_column, last_column);
  }
}

// key_scale and key_bits; a warp takes 32 pixels.
__global__ void __launch_bounds__(kThreads)
    key_scale_kernel(const float* squared_norm, const bool* key_mask, int height, int width, int size,
                     float* key_scale, uint32_t* key_bits, Summary* summary) {
  const int pixels = height * width, columns = width - size + 1;
  for (int64_t first = (int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp) * kWarp; first < pixels;
       first += int64_t(gridDim.x) * kThreads) {
    const int pixel = int(first) + threadIdx.x % kWarp;
    const int row = pixel / width, column = pixel % width;
    const bool selected =
        pixel < pixels && row + size <= height && column + size <= width && key_mask[row * columns + column];
    if (pixel < pixels) {
      key_scale[pixel] = selected ? inverse_norm(squared_norm, pixel, width, size) : kNotSelected;
    }
    const uint32_t bits = __ballot_sync(kAllLanes, selected);
    if (threadIdx.x % kWarp == 0) {
      key_bits[first / kWarp] = bits;
      if (bits != 0) atomicMin(&summary->first_key, int(first) + __ffs(int(bits)) - 1);
    }
  }
}

// ----------------------------------------------------------------------------------------------------
// The search: what both variants share
// ----------------------------------------------------------------------------------------------------

// Correlations of a tile's pixels, in shared memory. The margins are read, for patches that do not fit into
// the tile, but never used. The pitch spreads a tensor-core fragment's rows over the banks.
template <int kKeyLanes>
struct CorrelationTile {
  static constexpr int kPitch = kKeyLanes + 8;
  float x[kQueryLanes + kMaxSize - 1][kPitch];
};

// The query pixels of a strip, at the first row of their bands.
struct QueryLanes {
  int row[kQueryLanes];  // INT_MAX / 2 where there is no pixel
  int column[kQueryLanes];
};

// The steps of an item that are worth doing, in order. All threads of a block walk alike.
class StepCursor {
 public:
  // `query_rows` has a bit for each band row with a selected query.
  template <typename T>
  __device__ StepCursor(const MatchProblem<T>& problem, const DiagonalPlan& plan, uint32_t query_rows,
                        int split)
      : query_rows_(query_rows), strip_(split), steps_(0), rows_(0) {
    find_strip(problem, plan);
  }

  __device__ bool done() const { return steps_ == 0; }
  __device__ int step() const { return __ffs(int(steps_)) - 1; }

  // Pixel of the first key lane at this step.
  __device__ int key_pixel(const DiagonalPlan& plan) const {
    return key_strip_pixel(plan, strip_) + step() * plan.key_width;
  }

  // The band row that this step completes, or -1 where it completes none that is needed.
  __device__ int completed_row(int size) const {
    const int row = step() - (size - 1);
    return row >= 0 && (rows_ >> row & 1) ? row : -1;
  }

  template <typename T>
  __device__ void advance(const MatchProblem<T>& problem, const DiagonalPlan& plan) {
    steps_ &= steps_ - 1;
    if (steps_ != 0) return;
    strip_ += plan.splits;
    find_strip(problem, plan);
  }

 private:
  // Moves on to the first strip, from strip_, where a row has both selected queries and selected keys.
  template <typename T>
  __device__ void find_strip(const MatchProblem<T>& problem, const DiagonalPlan& plan) {
    const int pixels = problem.key_height * problem.key_width;
    for (; strip_ < plan.key_strips; strip_ += plan.splits) {
      const int row = threadIdx.x % kWarp;  // each lane looks at one band row
      const int64_t begin = key_strip_pixel(plan, strip_) + int64_t(row) * plan.key_width;
      const int64_t end = begin + plan.key_lanes - (plan.size - 1);
      const bool any = (query_rows_ >> row & 1) &&
                       any_bit(problem.key_bits, int(max(begin, int64_t(0))), int(min(end, int64_t(pixels))));
      rows_ = __ballot_sync(kAllLanes, any);
      steps_ = steps_for_rows(rows_, plan.size);
      if (steps_ != 0) return;
    }
  }

  uint32_t query_rows_;
  int strip_;
  uint32_t steps_;  // of this strip, still to do
  uint32_t rows_;   // of this strip, needed
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

  __device__ DiagonalSums()
      : first_row_(threadIdx.x / kGroup * kRows), first_column_(threadIdx.x % kGroup * kColumns) {}

  // One step: tile is D at this step. `best` is the table of this item; its entry is updated by always the
  // same thread.
  template <typename T>
  __device__ __forceinline__ void add(const MatchProblem<T>& problem, const DiagonalPlan& plan,
                                      const StepCursor& cursor, const CorrelationTile<kKeyLanes>& tile,
                                      Candidate (&best)[kMaxBandRows][kQueryLanes]) {
    float sum[kRows][kColumns];
    add_columns(tile, sum);
    add_rows(sum);
    const int row = cursor.completed_row(kSize);
    if (row < 0) return;

    const int first_pixel = cursor.key_pixel(plan) - (kSize - 1) * plan.key_width + first_column_;
    const int pixels = problem.key_height * problem.key_width;
    Candidate found[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) found[r] = no_candidate();
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int pixel = first_pixel + c;
      const bool inside = first_column_ + c <= kKeyLanes - kSize && pixel >= 0 && pixel < pixels;
      const float scale = inside ? problem.key_scale[pixel] : kNotSelected;
      if (scale < 0) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float score = sum[r][c] * scale;
        if (score > found[r].score) found[r] = {score, pixel};  // pixels ascend: the first of a tie stays
      }
    }
    const Candidate winner = best_over_lanes<kRows, kGroup>(found);
    constexpr int kLanesPerRow = kGroup / kRows;
    const int lane = threadIdx.x % kGroup;
    if (lane % kLanesPerRow == 0) {
      Candidate& entry = best[row][first_row_ + lane / kLanesPerRow];
      entry = better_of(entry, winner);
    }
  }

 private:
  // sum[r][c] = D[r, c] + D[r + 1, c + 1] + ...: one row of pixels of the patches.
  __device__ __forceinline__ void add_columns(const CorrelationTile<kKeyLanes>& tile,
                                              float (&sum)[kRows][kColumns]) {
#pragma unroll
    for (int line = 0; line < kRows + kSize - 1; ++line) {
      const float* source = &tile.x[first_row_ + line][first_column_];
      float values[kColumns + kSize - 1];
      const float4 first = *reinterpret_cast<const float4*>(source);
      values[0] = first.x;
      values[1] = first.y;
      values[2] = first.z;
      values[3] = first.w;
#pragma unroll
      for (int i = kColumns; i < kColumns + kSize - 1; ++i) values[i] = source[i];
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

  int first_row_, first_column_;
  float partial_[kSize > 1 ? kSize - 1 : 1][kRows][kColumns] = {};
};

// What a product needs to find its pixels.
template <typename T>
struct TileSource {
  const MatchProblem<T>& problem;
  const DiagonalPlan& plan;
  const QueryLanes& lanes;

  // The pixel under a lane at a step of the walk, or nullptr outside the map.
  __device__ const T* query_pixel(const StepCursor& cursor, int lane) const {
    const int row = lanes.row[lane] + cursor.step();
    if (row >= problem.query_height) return nullptr;
    return problem.query + (int64_t(row) * problem.query_width + lanes.column[lane]) * problem.channels;
  }
  __device__ const T* key_pixel(const StepCursor& cursor, int lane) const {
    const int pixel = cursor.key_pixel(plan) + lane;
    if (pixel < 0 || pixel >= problem.key_height * problem.key_width) return nullptr;
    return problem.key + int64_t(pixel) * problem.channels;
  }
};

// Runs ahead of the walk, one chunk of kChunk channels at a time, to say what to load next.
template <typename T, int kChunk>
class LoadCursor {
 public:
  __device__ LoadCursor(const TileSource<T>& source, const StepCursor& start)
      : cursor(start), source_(source) {}

  __device__ void advance() {
    channel += kChunk;
    if (channel < source_.problem.channels) return;
    channel = 0;
    cursor.advance(source_.problem, source_.plan);
  }

  StepCursor cursor;
  int channel = 0;

 private:
  const TileSource<T>& source_;
};

// ----------------------------------------------------------------------------------------------------
// Products: compute D for one step after another, and load ahead
// ----------------------------------------------------------------------------------------------------

// float32 multiply-adds: a thread computes 4 x 4 correlations. The next chunk waits in registers.
template <typename T>
class FloatProduct {
 public:
  using Element = T;
  static constexpr int kLeastArch = 0;
  static constexpr int kKeyLanes = 64;
  static constexpr int kChunk = 16;
  static constexpr int kPerThread = 4;

  struct Shared {
    float query[2][kChunk][kQueryLanes + 4];
    float key[2][kChunk][kKeyLanes + 4];
  };

  __device__ FloatProduct(const TileSource<T>& source, const StepCursor& start, Shared& shared)
      : source_(source), load_(source, start), shared_(shared) {
    fetch();
  }

  // Ends without a barrier after the writes to `tile`, and begins with one before them.
  __device__ __forceinline__ void compute(CorrelationTile<kKeyLanes>& tile) {
    const int query = threadIdx.x / kGroup * kPerThread, key = threadIdx.x % kGroup * kPerThread;
    float sum[kPerThread][kPerThread] = {};
    int channel = 0;
    do {
      put();
      __syncthreads();
      fetch();
#pragma unroll
      for (int k = 0; k < kChunk; ++k) {
        const float4 a = *reinterpret_cast<const float4*>(&shared_.query[buffer_][k][query]);
        const float4 b = *reinterpret_cast<const float4*>(&shared_.key[buffer_][k][key]);
        const float rows[kPerThread] = {a.x, a.y, a.z, a.w}, columns[kPerThread] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int r = 0; r < kPerThread; ++r) {
#pragma unroll
          for (int c = 0; c < kPerThread; ++c) sum[r][c] += rows[r] * columns[c];
        }
      }
      buffer_ ^= 1;
      channel += kChunk;
    } while (channel < source_.problem.channels);
#pragma unroll
    for (int r = 0; r < kPerThread; ++r) {
      *reinterpret_cast<float4*>(&tile.x[query + r][key]) =
          make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    }
  }

 private:
  static constexpr int kGroup = kKeyLanes / kPerThread;
  static_assert(kQueryLanes == kKeyLanes && kQueryLanes * kChunk == kThreads * kPerThread,
                "one load a thread");

  // Reads this thread's share of the next chunk into registers.
  __device__ __forceinline__ void fetch() {
    if (load_.cursor.done()) return;
    const int lane = threadIdx.x / (kChunk / kPerThread);
    const int channel = load_.channel + threadIdx.x % (kChunk / kPerThread) * kPerThread;
    read(source_.query_pixel(load_.cursor, lane), channel, query_);
    read(source_.key_pixel(load_.cursor, lane), channel, key_);
    load_.advance();
  }

  __device__ __forceinline__ void read(const T* pixel, int channel, float (&values)[kPerThread]) const {
    const int channels = source_.problem.channels;
    if (pixel != nullptr && channel + kPerThread <= channels &&
        reinterpret_cast<uintptr_t>(pixel + channel) % sizeof(Pack<T, kPerThread>) == 0) {
      load_floats<kPerThread>(pixel + channel, values);
      return;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      values[i] = pixel != nullptr && channel + i < channels ? to_float(pixel[channel + i]) : 0.0f;
    }
  }

  __device__ __forceinline__ void put() {
    const int lane = threadIdx.x / (kChunk / kPerThread);
    const int channel = threadIdx.x % (kChunk / kPerThread) * kPerThread;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      shared_.query[buffer_][channel + i][lane] = query_[i];
      shared_.key[buffer_][channel + i][lane] = key_[i];
    }
  }

  const TileSource<T>& source_;
  LoadCursor<T, kChunk> load_;
  Shared& shared_;
  int buffer_ = 0;
  float query_[kPerThread], key_[kPerThread];
};

// Tensor cores: a warp computes 32 x 32 correlations. cp.async fills a ring of stages ahead of the products.
template <typename T>
class TensorCoreProduct {
 public:
  using Element = T;
  static constexpr int kLeastArch = 800;
  static constexpr int kKeyLanes = 128;
  static constexpr int kChunk = 32;
  static constexpr int kStages = 3;

  struct Shared {
    alignas(16) T query[kStages][kQueryLanes * kChunk];
    alignas(16) T key[kStages][kKeyLanes * kChunk];
  };

  __device__ TensorCoreProduct(const TileSource<T>& source, const StepCursor& start, Shared& shared)
      : source_(source), load_(source, start), shared_(shared) {
    for (int i = 0; i < kStages - 1; ++i) fetch();
  }

  // Ends without a barrier after the writes to `tile`, and begins with one before them.
  __device__ __forceinline__ void compute(CorrelationTile<kKeyLanes>& tile) {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int query = warp / kWarpColumns * kWarpTile, key = warp % kWarpColumns * kWarpTile;
    FragmentC sum[kWarpTile / 16][kWarpTile / 8] = {};
    for (int channel = 0; channel < source_.problem.channels; channel += kChunk) {
      wait_copies<kStages - 2>();
      __syncthreads();  // the stage has arrived for all threads, and all have done with the one that is
                        // filled next
      fetch();
#pragma unroll
      for (int k = 0; k < kChunk; k += 16) multiply_chunk(query, key, k, sum);
      stage_ = stage_ + 1 == kStages ? 0 : stage_ + 1;
    }
#pragma unroll
    for (int m = 0; m < kWarpTile / 16; ++m) {
#pragma unroll
      for (int n = 0; n < kWarpTile / 8; ++n) {
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

  __device__ __forceinline__ void multiply_chunk(int query, int key, int k,
                                                 FragmentC (&sum)[kWarpTile / 16][kWarpTile / 8]) const {
    const int lane = threadIdx.x % kWarp;
    FragmentA a[kWarpTile / 16];
    FragmentB b[kWarpTile / 8];
#pragma unroll
    for (int m = 0; m < kWarpTile / 16; ++m) {
      const int row = query + m * 16 + lane % 16;
      load_matrices(&shared_.query[stage_][swizzled(row, k / kSegment + lane / 16)], a[m].pairs);
    }
#pragma unroll
    for (int n = 0; n < kWarpTile / 8; n += 2) {
      const int row = key + n * 8 + lane % 8 + lane / 16 * 8;
      uint32_t pairs[4];
      load_matrices(&shared_.key[stage_][swizzled(row, k / kSegment + lane / 8 % 2)], pairs);
      b[n] = {{pairs[0], pairs[1]}};
      b[n + 1] = {{pairs[2], pairs[3]}};
    }
#pragma unroll
    for (int m = 0; m < kWarpTile / 16; ++m) {
#pragma unroll
      for (int n = 0; n < kWarpTile / 8; ++n) multiply_add<T>(sum[m][n], a[m], b[n]);
    }
  }

  // Starts the copies of the next chunk. Commits a group even when there is nothing left, so that groups
  // count chunks.
  __device__ __forceinline__ void fetch() {
    if (!load_.cursor.done()) {
      for (int i = threadIdx.x; i < kQueryLanes * kSegments; i += kThreads) {
        const int lane = i / kSegments, segment = i % kSegments;
        copy(source_.query_pixel(load_.cursor, lane), source_.problem.query, segment,
             &shared_.query[load_stage_][swizzled(lane, segment)]);
      }
      for (int i = threadIdx.x; i < kKeyLanes * kSegments; i += kThreads) {
        const int lane = i / kSegments, segment = i % kSegments;
        copy(source_.key_pixel(load_.cursor, lane), source_.problem.key, segment,
             &shared_.key[load_stage_][swizzled(lane, segment)]);
      }
      load_stage_ = load_stage_ + 1 == kStages ? 0 : load_stage_ + 1;
      load_.advance();
    }
    commit_copies();
  }

  __device__ __forceinline__ void copy(const T* pixel, const T* anywhere, int segment, T* destination) const {
    const int channel = load_.channel + segment * kSegment;
    const bool inside = pixel != nullptr && channel < source_.problem.channels;
    start_copy_16(destination, inside ? pixel + channel : anywhere, inside);
  }

  const TileSource<T>& source_;
  LoadCursor<T, kChunk> load_;
  Shared& shared_;
  int stage_ = 0, load_stage_ = 0;
};

// ----------------------------------------------------------------------------------------------------
// The kernels
// ----------------------------------------------------------------------------------------------------

template <typename Product>
struct MatchShared {
  typename Product::Shared product;
  alignas(16) CorrelationTile<Product::kKeyLanes> tile;
  Candidate best[kMaxBandRows][kQueryLanes];
  QueryLanes lanes;
};

// Bit r: does band row r of the strip hold a selected query? The same in every thread.
template <typename T>
__device__ __forceinline__ uint32_t selected_rows(const MatchProblem<T>& problem, const DiagonalPlan& plan,
                                                  const QueryLanes& lanes) {
  const int columns = problem.query_width - plan.size + 1;
  uint32_t rows = 0;
  for (int r = 0; r < plan.band_rows; ++r) {
    bool any = false;
    for (int lane = threadIdx.x % kWarp; lane <= kQueryLanes - plan.size; lane += kWarp) {
      const int row = lanes.row[lane] + r, column = lanes.column[lane];
      if (row <= plan.box.last_row && column <= plan.box.last_column) {
        any |= problem.query_selected[int64_t(row) * columns + column] != 0;
      }
    }
    if (__any_sync(kAllLanes, any)) rows |= 1u << r;
  }
  return rows;
}

// A block works through items: a query strip against every splits-th key strip.
template <int kSize, typename Product>
__global__ void __launch_bounds__(kThreads, 1) match_kernel(MatchProblem<typename Product::Element> problem) {
#if defined(__CUDA_ARCH__)
  if constexpr (__CUDA_ARCH__ < Product::kLeastArch) return;  // never launched there
#endif
  extern __shared__ __align__(16) unsigned char shared_bytes[];
  auto& shared = *reinterpret_cast<MatchShared<Product>*>(shared_bytes);
  const DiagonalPlan plan = plan_diagonals(problem.summary->box, kSize, problem.key_height, problem.key_width,
                                           kQueryLanes, Product::kKeyLanes, kTargetItems);
  const TileSource<typename Product::Element> source{problem, plan, shared.lanes};
  for (int item = blockIdx.x; item < plan.query_strips * plan.splits; item += gridDim.x) {
    for (int i = threadIdx.x; i < kMaxBandRows * kQueryLanes; i += kThreads) {
      shared.best[i / kQueryLanes][i % kQueryLanes] = no_candidate();
    }
    for (int lane = threadIdx.x; lane < kQueryLanes; lane += kThreads) {
      int row, column;
      const bool exists = query_lane_pixel(plan, item / plan.splits, lane, &row, &column);
      shared.lanes.row[lane] = exists ? row : INT_MAX / 2;
      shared.lanes.column[lane] = column;
    }
    __syncthreads();
    StepCursor cursor(problem, plan, selected_rows(problem, plan, shared.lanes), item % plan.splits);
    DiagonalSums<kSize, Product::kKeyLanes> sums;
    Product product(source, cursor, shared.product);
    for (; !cursor.done(); cursor.advance(problem, plan)) {
      product.compute(shared.tile);
      __syncthreads();
      sums.add(problem, plan, cursor, shared.tile, shared.best);
    }
    __syncthreads();
    Candidate* best = problem.best + int64_t(item) * kMaxBandRows * kQueryLanes;
    for (int i = threadIdx.x; i < kMaxBandRows * kQueryLanes; i += kThreads) {
      best[i] = shared.best[i / kQueryLanes][i % kQueryLanes];
    }
    __syncthreads();
  }
}

// The best over the splits, as a key position and a normalised score.
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const int64_t* position, int64_t queries, const float* squared_norm, int query_width,
                  int key_height, int key_width, int size, int key_lanes, const Summary* summary,
                  const Candidate* best, int64_t* index, float* score) {
  const DiagonalPlan plan =
      plan_diagonals(summary->box, size, key_height, key_width, kQueryLanes, key_lanes, kTargetItems);
  const int query_columns = query_width - size + 1, key_columns = key_width - size + 1;
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < queries;
       m += int64_t(gridDim.x) * kThreads) {
    const int row = int(position[m]) / query_columns, column = int(position[m]) % query_columns;
    const QueryPlace place = place_of_query(plan, row, column);
    Candidate found = no_candidate();
    for (int split = 0; split < plan.splits; ++split) {
      const int64_t item = int64_t(place.strip) * plan.splits + split;
      found = better_of(best[(item * kMaxBandRows + place.row) * kQueryLanes + place.lane], found);
    }
    // Only where every score is NaN is there no best: the index stays a valid one, and the score says so.
    const bool none = found.pixel == INT_MAX;
    index[m] = position_of_corner(none ? summary->first_key : found.pixel, key_columns, key_width);
    score[m] =
        none ? NAN : found.score * inverse_norm(squared_norm, row * query_width + column, query_width, size);
  }
}

// ----------------------------------------------------------------------------------------------------
// The launcher
// ----------------------------------------------------------------------------------------------------

// The workspace's parts, each aligned to 256 bytes.
struct Workspace {
  Summary* summary;
  float* query_norm;
  float* key_norm;
  float* key_scale;
  uint32_t* key_bits;
  uint8_t* query_selected;
  Candidate* best;
  int64_t bytes;
};

int64_t item_bound(const MatchPatchesArgs& args) {
  return most_items(int(args.query_height) - args.size + 1, int(args.query_width) - args.size + 1, args.size,
                    int(args.key_height), int(args.key_width), kQueryLanes, kLeastKeyLanes, kTargetItems);
}

Workspace divide_workspace(const MatchPatchesArgs& args) {
  Workspace parts;
  char* base = static_cast<char*>(args.workspace);
  int64_t offset = 0;
  const auto take = [&](auto*& pointer, int64_t count) {
    pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(base + offset);
    offset += (count * int64_t(sizeof(*pointer)) + 255) / 256 * 256;
  };
  const int64_t query_pixels = args.query_height * args.query_width,
                key_pixels = args.key_height * args.key_width;
  take(parts.summary, 1);
  take(parts.query_norm, query_pixels);
  take(parts.key_norm, key_pixels);
  take(parts.key_scale, key_pixels);
  take(parts.key_bits, key_pixels / 32 + 1);
  take(parts.query_selected, query_pixels);
  take(parts.best, item_bound(args) * kMaxBandRows * kQueryLanes);
  parts.bytes = offset;
  return parts;
}

bool fits(const MatchPatchesArgs& args) {
  const auto too_large = [](int64_t height, int64_t width) {
    return height >= kMaxPixels || width >= kMaxPixels || (height + 2 * kMaxBandRows) * width >= kMaxPixels;
  };
  return !too_large(args.query_height, args.query_width) && !too_large(args.key_height, args.key_width) &&
         args.channels <= INT_MAX / 2;
}

enum class Variant { kTensorCore, kFloat };

// Can this variant solve this problem on a device of this compute capability (90 for 9.0)?
bool tensor_cores_can_run(const MatchPatchesArgs& args, int capability) {
  return args.dtype != DType::kFloat32 && args.size == 3 && args.channels > 0 && args.channels % 16 == 0 &&
         aligned_16(args.query) && aligned_16(args.key) && capability >= 80;
}
bool float_can_run(const MatchPatchesArgs& args, int) { return args.size <= kMaxSize; }

struct VariantRule {
  Variant variant;
  bool (*can_run)(const MatchPatchesArgs& args, int capability);
};

// In order of preference.
constexpr VariantRule kVariants[] = {
    {Variant::kTensorCore, tensor_cores_can_run},
    {Variant::kFloat, float_can_run},
};

template <int kSize, typename Product>
const char* launch_match(const MatchProblem<typename Product::Element>& problem, int64_t items,
                         int processors, cudaStream_t stream) {
  constexpr int kShared = sizeof(MatchShared<Product>);
  const auto kernel = match_kernel<kSize, Product>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (error != cudaSuccess) return error_text(error);
  const unsigned blocks = blocks_for(items, 1, int64_t(processors) * 2);
  kernel<<<blocks, kThreads, kShared, stream>>>(problem);
  return launch_error();
}

template <typename T>
const char* launch_float(const MatchProblem<T>& problem, int64_t items, int processors, cudaStream_t stream) {
  using Launch = const char* (*)(const MatchProblem<T>&, int64_t, int, cudaStream_t);
  constexpr Launch kBySize[kMaxSize] = {launch_match<1, FloatProduct<T>>, launch_match<2, FloatProduct<T>>,
                                        launch_match<3, FloatProduct<T>>, launch_match<4, FloatProduct<T>>,
                                        launch_match<5, FloatProduct<T>>, launch_match<6, FloatProduct<T>>,
                                        launch_match<7, FloatProduct<T>>};
  return kBySize[problem.size - 1](problem, items, processors, stream);
}

template <typename T>
const char* launch_tensor_cores(const MatchProblem<T>& problem, int64_t items, int processors,
                                cudaStream_t stream) {
  if constexpr (sizeof(T) == 2) {
    return launch_match<3, TensorCoreProduct<T>>(problem, items, processors, stream);
  } else {
    return "match_patches: tensor cores take 16-bit elements";
  }
}

template <typename T>
const char* search(const MatchPatchesArgs& args, Variant variant, int processors, cudaStream_t stream) {
  const Workspace space = divide_workspace(args);
  const int query_height = int(args.query_height), query_width = int(args.query_width);
  const int key_height = int(args.key_height), key_width = int(args.key_width), channels = int(args.channels);
  const int query_pixels = query_height * query_width, key_pixels = key_height * key_width;
  const int64_t most_blocks = int64_t(processors) * 8;
  const T* query = static_cast<const T*>(args.query);
  const T* key = static_cast<const T*>(args.key);

  const cudaError_t error = cudaMemsetAsync(space.query_selected, 0, query_pixels, stream);
  if (error != cudaSuccess) return error_text(error);
  start_summary_kernel<<<1, 1, 0, stream>>>(space.summary);
  pixel_norm_kernel<T><<<blocks_for(query_pixels, kWarps, most_blocks), kThreads, 0, stream>>>(
      query, query_pixels, channels, space.query_norm);
  pixel_norm_kernel<T><<<blocks_for(key_pixels, kWarps, most_blocks), kThreads, 0, stream>>>(
      key, key_pixels, channels, space.key_norm);
  mark_queries_kernel<<<blocks_for(args.queries, kThreads, most_blocks), kThreads, 0, stream>>>(
      args.query_position, args.queries, query_width - args.size + 1, space.query_selected, space.summary);
  key_scale_kernel<<<blocks_for(key_pixels, kThreads, most_blocks), kThreads, 0, stream>>>(
      space.key_norm, args.key_mask, key_height, key_width, args.size, space.key_scale, space.key_bits,
      space.summary);

  const MatchProblem<T> problem{
      query,     key,       channels,      query_height,         query_width,     key_height,
      key_width, args.size, space.summary, space.query_selected, space.key_scale, space.key_bits,
      space.best};
  const char* failure = variant == Variant::kTensorCore
                            ? launch_tensor_cores<T>(problem, item_bound(args), processors, stream)
                            : launch_float<T>(problem, item_bound(args), processors, stream);
  if (failure != nullptr) return failure;

  const int key_lanes =
      variant == Variant::kTensorCore ? TensorCoreProduct<__half>::kKeyLanes : FloatProduct<float>::kKeyLanes;
  finish_kernel<<<blocks_for(args.queries, kThreads, most_blocks), kThreads, 0, stream>>>(
      args.query_position, args.queries, space.query_norm, query_width, key_height, key_width, args.size,
      key_lanes, space.summary, space.best, args.index, args.score);
  return launch_error();
}

}  // namespace

int64_t match_patches_workspace(const MatchPatchesArgs& args) {
  if (args.queries == 0 || !fits(args)) return 0;
  return divide_workspace(args).bytes;
}

const char* match_patches(const MatchPatchesArgs& args, void* stream) {
  if (args.queries == 0) return nullptr;
  if (!fits(args)) return "match_patches: a feature map has too many pixels";
  int device = 0, major = 0, minor = 0, processors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error_text(error);
  for (const VariantRule& rule : kVariants) {
    if (!rule.can_run(args, major * 10 + minor)) continue;
    return with_element_type(args.dtype, [&](auto type) {
      return search<typename decltype(type)::type>(args, rule.variant, processors, as_stream(stream));
    });
  }
  return "match_patches: on CUDA the patch size must be 1 to 7";
}

}  // namespace neuralpatch::cuda
