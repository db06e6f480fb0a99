// The inner loops of the CPU operators. They are compiled once per instruction set; the best one that the
// machine has is chosen at the first call.
#pragma once

#include <cstdint>

#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {

struct Kernels {
  const char* name;
  int lanes;  // float32 values in a vector register
  int group;  // query pixels in a register tile
  // A register tile spans at most two vectors of key pixels.
  static constexpr int kTileVectors = 2;

  // tile[r * tile_stride + k] = sum_c query[c * rows + r] * key[c * vectors * lanes + k],
  // for rows <= group and vectors <= kTileVectors.
  void (*multiply)(const float* query, const float* key, int64_t channels, int rows, int vectors, float* tile,
                   int64_t tile_stride);

  // The same for pairs of bfloat16: query and key are 32-bit words of two consecutive channels each, and
  // `channels` counts words. Null where the machine has no instruction for it.
  void (*multiply_pairs)(const float* query, const float* key, int64_t channels, int rows, int vectors,
                         float* tile, int64_t tile_stride);

  // sums[r * sums_stride + k] = sum_dx tile[(r + dx) * tile_stride + k + dx], for the rows r with wanted[r]
  // and the `chunks` vectors of k that start at chunk[i].
  void (*sum_diagonals)(const float* tile, int64_t tile_stride, int size, const uint8_t* wanted, int64_t rows,
                        const int32_t* chunk, int64_t chunks, float* sums, int64_t sums_stride);

  // Offers the candidates k of `chunk`, with score[k] = inverse_norm[k] * sum_dy sums[dy][r * stride + k] and
  // index first_index + k, to the running best of each row r with wanted[r]. There is one running best per
  // row and lane; ties go to the lowest index, and a NaN never wins.
  void (*update_best)(const float* const* sums, int size, int64_t sums_stride, const uint8_t* wanted,
                      int64_t rows, const float* inverse_norm, int32_t first_index, const int32_t* chunk,
                      int64_t chunks, float* best_score, int32_t* best_index);

  // The three functions below work on `count` consecutive values.
  void (*widen)(const void* source, DType dtype, int64_t count, float* result);
  double (*sum_of_squares)(const float* values, int64_t count);

  // The sum of a[i] * b[i].
  float (*dot)(const void* a, const void* b, DType dtype, int64_t count);

  // The functions below write `result` or `gradient` past the caches if `stream`, as outputs larger than the
  // caches should be; finish_streaming() must follow before another thread may read them.

  // result[c] = sum over the `count` sources of weight[s] * source[s][c].
  void (*weighted_sum)(const void* const* sources, const float* weight, int64_t count, DType dtype,
                       int64_t channels, bool stream, void* result);
  // Returns the sum over `pixels` pixels of weight[p] * |features[p] - target[p]|^2. Unless gradient is null,
  // gradient[p] = 2 * weight[p] * (features[p] - target[p]).
  double (*texture_loss)(const void* features, const void* target, const float* weight, DType dtype,
                         int64_t pixels, int64_t channels, bool stream, void* gradient);
  // A part of one row of the total variation. `right`, `up` and `down` hold, for each x, a mask of the size
  // of an element, all ones where the pair with the next x, the one above or the one below counts. Pairs that
  // do not count are not read. Returns the sum over the pairs to the right and below. gradient may be null.
  double (*variation_row)(const void* x, const void* above, const void* below, const void* right,
                          const void* up, const void* down, DType dtype, int64_t count, void* gradient);
};

// Whether an output of this size is best written past the caches.
inline bool worth_streaming(int64_t bytes) { return bytes >= int64_t{16} << 20; }
void finish_streaming();

// The kernels for this machine, or those named by the environment variable NEURALPATCH_CPU_ISA
// ("baseline", "avx2", "avx512", "avx512bf16") if the machine can run them.
const Kernels& kernels();

const Kernels& baseline_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512bf16_kernels();
#endif

}  // namespace neuralpatch::cpu
