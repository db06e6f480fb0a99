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

  // The functions below work on `count` consecutive values.
  void (*widen)(const void* source, DType dtype, int64_t count, float* result);
  double (*sum_of_squares)(const float* values, int64_t count);
  void (*accumulate)(const void* source, DType dtype, int64_t count, float* sum);
  // result = scale * values
  void (*narrow)(const float* values, float scale, DType dtype, int64_t count, void* result);
  // Returns sum (features - target)^2; gradient = scale * (features - target).
  double (*squared_difference)(const void* features, const void* target, float scale, DType dtype,
                               int64_t count, void* gradient);
  // One row of the total variation. right[i] weighs the pair (i, i + 1), down[i] the pair of rows x and
  // below, up[i] that of above and x. The arrays may be read one value before their start and up to the next
  // multiple of `lanes` plus one after their end. Returns the row's pairs to the right and below.
  double (*variation_row)(const float* above, const float* x, const float* below, const float* right,
                          const float* up, const float* down, int64_t count, float* gradient);
};

// The kernels for this machine, or those named by the environment variable NEURALPATCH_CPU_ISA
// ("baseline", "avx2", "avx512") if the machine can run them.
const Kernels& kernels();

const Kernels& baseline_kernels();
#if defined(__x86_64__)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace neuralpatch::cpu
