// The bodies of the inner loops, included by one source file per instruction set, which defines
//   NEURALPATCH_LANES   float32 values in a vector register,
//   NEURALPATCH_GROUP   rows of a register tile: 2 * GROUP accumulators, 2 key vectors and 1 query value must
//   fit.
// Everything is local to the including file, and no function of a shared header may be instantiated here: the
// linker keeps one copy of those, which could then contain instructions that the machine lacks.

namespace neuralpatch::cpu {
namespace {

constexpr int kLanes = NEURALPATCH_LANES;
constexpr int kGroup = NEURALPATCH_GROUP;

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t IntVector __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef float UnalignedVector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef int32_t UnalignedIntVector
    __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<UnalignedVector*>(p) = v; }
inline IntVector load(const int32_t* p) { return *reinterpret_cast<const UnalignedIntVector*>(p); }
inline void store(int32_t* p, IntVector v) { *reinterpret_cast<UnalignedIntVector*>(p) = v; }

inline double sum_lanes(Vector v) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

template <int kRows, int kVectors>
void multiply_tile(const float* query, const float* key, int64_t channels, float* tile, int64_t tile_stride) {
  Vector sum[kRows][kVectors] = {};
  for (int64_t c = 0; c < channels; ++c, query += kRows, key += kVectors * kLanes) {
    Vector k[kVectors];
    for (int v = 0; v < kVectors; ++v) k[v] = load(key + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += query[r] * k[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store(tile + r * tile_stride + v * kLanes, sum[r][v]);
  }
}

template <int kRows>
void multiply_rows(const float* query, const float* key, int64_t channels, int rows, int vectors, float* tile,
                   int64_t tile_stride) {
  if (rows == kRows) {
    if (vectors == 2) {
      multiply_tile<kRows, 2>(query, key, channels, tile, tile_stride);
    } else {
      multiply_tile<kRows, 1>(query, key, channels, tile, tile_stride);
    }
  } else if constexpr (kRows > 1) {
    multiply_rows<kRows - 1>(query, key, channels, rows, vectors, tile, tile_stride);
  }
}

// kSize is the patch size, or 0 where it is only known at run time.
template <int kSize>
void sum_diagonals_of(const float* tile, int64_t tile_stride, int size, const uint8_t* wanted, int64_t rows,
                      const int32_t* chunk, int64_t chunks, float* sums, int64_t sums_stride) {
  if (kSize != 0) size = kSize;
  for (int64_t r = 0; r < rows; ++r) {
    if (!wanted[r]) continue;
    for (int64_t i = 0; i < chunks; ++i) {
      const float* t = tile + r * tile_stride + chunk[i];
      Vector sum = load(t);
      for (int dx = 1; dx < size; ++dx) sum += load(t + dx * (tile_stride + 1));
      store(sums + r * sums_stride + chunk[i], sum);
    }
  }
}

void sum_diagonals(const float* tile, int64_t tile_stride, int size, const uint8_t* wanted, int64_t rows,
                   const int32_t* chunk, int64_t chunks, float* sums, int64_t sums_stride) {
  const auto body = size == 3 ? sum_diagonals_of<3> : sum_diagonals_of<0>;
  body(tile, tile_stride, size, wanted, rows, chunk, chunks, sums, sums_stride);
}

template <int kSize>
void update_best_of(const float* const* sums, int size, int64_t sums_stride, const uint8_t* wanted,
                    int64_t rows, const float* inverse_norm, int32_t first_index, const int32_t* chunk,
                    int64_t chunks, float* best_score, int32_t* best_index) {
  if (kSize != 0) size = kSize;
  IntVector lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = first_index + i;
  for (int64_t r = 0; r < rows; ++r) {
    if (!wanted[r]) continue;
    Vector score = load(best_score + r * kLanes);
    IntVector index = load(best_index + r * kLanes);
    for (int64_t i = 0; i < chunks; ++i) {
      const int64_t offset = r * sums_stride + chunk[i];
      Vector candidate = load(sums[0] + offset);
      for (int dy = 1; dy < size; ++dy) candidate += load(sums[dy] + offset);
      candidate *= load(inverse_norm + chunk[i]);
      const IntVector candidate_index = lane + chunk[i];
      const IntVector wins = (candidate > score) | ((candidate == score) & (candidate_index < index));
      score = wins ? candidate : score;
      index = wins ? candidate_index : index;
    }
    store(best_score + r * kLanes, score);
    store(best_index + r * kLanes, index);
  }
}

void update_best(const float* const* sums, int size, int64_t sums_stride, const uint8_t* wanted, int64_t rows,
                 const float* inverse_norm, int32_t first_index, const int32_t* chunk, int64_t chunks,
                 float* best_score, int32_t* best_index) {
  const auto body = size == 3 ? update_best_of<3> : update_best_of<0>;
  body(sums, size, sums_stride, wanted, rows, inverse_norm, first_index, chunk, chunks, best_score,
       best_index);
}

template <typename T>
void widen_values(const T* source, int64_t count, float* result) {
  for (int64_t i = 0; i < count; ++i) result[i] = to_float(source[i]);
}

template <typename T>
void accumulate_values(const T* source, int64_t count, float* sum) {
  for (int64_t i = 0; i < count; ++i) sum[i] += to_float(source[i]);
}

template <typename T>
void narrow_values(const float* values, float scale, int64_t count, T* result) {
  for (int64_t i = 0; i < count; ++i) from_float(scale * values[i], result[i]);
}

void widen(const void* source, DType dtype, int64_t count, float* result) {
  switch (dtype) {
    case DType::kFloat32:
      return widen_values(static_cast<const float*>(source), count, result);
    case DType::kBFloat16:
      return widen_values(static_cast<const BFloat16*>(source), count, result);
    case DType::kFloat16:
      return widen_values(static_cast<const Float16*>(source), count, result);
  }
}

void accumulate(const void* source, DType dtype, int64_t count, float* sum) {
  switch (dtype) {
    case DType::kFloat32:
      return accumulate_values(static_cast<const float*>(source), count, sum);
    case DType::kBFloat16:
      return accumulate_values(static_cast<const BFloat16*>(source), count, sum);
    case DType::kFloat16:
      return accumulate_values(static_cast<const Float16*>(source), count, sum);
  }
}

void narrow(const float* values, float scale, DType dtype, int64_t count, void* result) {
  switch (dtype) {
    case DType::kFloat32:
      return narrow_values(values, scale, count, static_cast<float*>(result));
    case DType::kBFloat16:
      return narrow_values(values, scale, count, static_cast<BFloat16*>(result));
    case DType::kFloat16:
      return narrow_values(values, scale, count, static_cast<Float16*>(result));
  }
}

double sum_of_squares(const float* values, int64_t count) {
  Vector sum = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum += load(values + i) * load(values + i);
  double rest = 0;
  for (; i < count; ++i) rest += static_cast<double>(values[i]) * values[i];
  return sum_lanes(sum) + rest;
}

double squared_difference_of(const float* features, const float* target, float scale, int64_t count,
                             float* gradient) {
  Vector sum = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vector difference = load(features + i) - load(target + i);
    store(gradient + i, scale * difference);
    sum += difference * difference;
  }
  double rest = 0;
  for (; i < count; ++i) {
    const float difference = features[i] - target[i];
    gradient[i] = scale * difference;
    rest += static_cast<double>(difference) * difference;
  }
  return sum_lanes(sum) + rest;
}

template <typename T>
double squared_difference_of(const T* features, const T* target, float scale, int64_t count, T* gradient) {
  constexpr int64_t kBlock = 256;  // keeps the widened values in the first cache
  float wide_features[kBlock], wide_target[kBlock];
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = count - begin < kBlock ? count - begin : kBlock;
    widen_values(features + begin, n, wide_features);
    widen_values(target + begin, n, wide_target);
    sum += squared_difference_of(wide_features, wide_target, scale, n, wide_features);
    narrow_values(wide_features, 1.0f, n, gradient + begin);
  }
  return sum;
}

double squared_difference(const void* features, const void* target, float scale, DType dtype, int64_t count,
                          void* gradient) {
  switch (dtype) {
    case DType::kFloat32:
      return squared_difference_of(static_cast<const float*>(features), static_cast<const float*>(target),
                                   scale, count, static_cast<float*>(gradient));
    case DType::kBFloat16:
      return squared_difference_of(static_cast<const BFloat16*>(features),
                                   static_cast<const BFloat16*>(target), scale, count,
                                   static_cast<BFloat16*>(gradient));
    case DType::kFloat16:
      return squared_difference_of(static_cast<const Float16*>(features), static_cast<const Float16*>(target),
                                   scale, count, static_cast<Float16*>(gradient));
  }
  return 0;
}

double variation_row(const float* above, const float* x, const float* below, const float* right,
                     const float* up, const float* down, int64_t count, float* gradient) {
  Vector sum = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vector centre = load(x + i);
    const Vector to_right = centre - load(x + i + 1), to_below = centre - load(below + i);
    const Vector weighted_right = load(right + i) * to_right, weighted_below = load(down + i) * to_below;
    const Vector weighted_left = load(right + i - 1) * (centre - load(x + i - 1));
    const Vector weighted_above = load(up + i) * (centre - load(above + i));
    sum += weighted_right * to_right + weighted_below * to_below;
    store(gradient + i, 2.0f * (weighted_left + weighted_right + weighted_above + weighted_below));
  }
  return sum_lanes(sum);
}

constexpr Kernels table(const char* name) {
  return {name,           kLanes,     kGroup, multiply_rows<kGroup>, sum_diagonals, update_best, widen,
          sum_of_squares, accumulate, narrow, squared_difference,    variation_row};
}

}  // namespace
}  // namespace neuralpatch::cpu
