// The bodies of the inner loops, included by one source file per instruction set, which defines
//   NEURALPATCH_LANES   float32 values in a vector register,
//   NEURALPATCH_GROUP   rows of a register tile: 2 * GROUP accumulators, 2 key vectors and 1 query value must
//   fit,
//   NEURALPATCH_PAIRS   if there is an instruction for products of pairs of bfloat16.
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
typedef int32_t UnalignedIntVector16
    __attribute__((vector_size(kLanes * sizeof(int32_t)), aligned(2), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<UnalignedVector*>(p) = v; }
inline IntVector load(const int32_t* p) { return *reinterpret_cast<const UnalignedIntVector*>(p); }
inline void store(int32_t* p, IntVector v) { *reinterpret_cast<UnalignedIntVector*>(p) = v; }

inline double sum_lanes(Vector v) {
  double sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}

// How a word of a query pixel is multiplied with the same words of a vector of key pixels.
struct Floats {
  static Vector add_product(Vector sum, float query, Vector key) { return sum + query * key; }
};

#if defined(NEURALPATCH_PAIRS)
struct BFloat16Pairs {
  static Vector add_product(Vector sum, float query, Vector key) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_ps(query), (__m512bh)key);
  }
};
#endif

template <typename Words, int kRows, int kVectors>
void multiply_tile(const float* query, const float* key, int64_t channels, float* tile, int64_t tile_stride) {
  Vector sum[kRows][kVectors] = {};
  for (int64_t c = 0; c < channels; ++c, query += kRows, key += kVectors * kLanes) {
    Vector k[kVectors];
    for (int v = 0; v < kVectors; ++v) k[v] = load(key + v * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Words::add_product(sum[r][v], query[r], k[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store(tile + r * tile_stride + v * kLanes, sum[r][v]);
  }
}

template <typename Words, int kRows>
void multiply_rows(const float* query, const float* key, int64_t channels, int rows, int vectors, float* tile,
                   int64_t tile_stride) {
  if (rows == kRows) {
    if (vectors == 2) {
      multiply_tile<Words, kRows, 2>(query, key, channels, tile, tile_stride);
    } else {
      multiply_tile<Words, kRows, 1>(query, key, channels, tile, tile_stride);
    }
  } else if constexpr (kRows > 1) {
    multiply_rows<Words, kRows - 1>(query, key, channels, rows, vectors, tile, tile_stride);
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

double sum_of_squares(const float* values, int64_t count) {
  Vector sum = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) sum += load(values + i) * load(values + i);
  double rest = 0;
  for (; i < count; ++i) rest += static_cast<double>(values[i]) * values[i];
  return sum_lanes(sum) + rest;
}

// Writes past the caches, to an aligned address.
inline void stream_store(void* p, IntVector v) {
#if !defined(__x86_64__)
  *reinterpret_cast<IntVector*>(p) = v;
#elif NEURALPATCH_LANES == 16
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif NEURALPATCH_LANES == 8
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#else
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)v);
#endif
}

// A group of consecutive elements of type T, as float32 vectors. Which lane holds which element is the same
// for every group, so that lanes of several groups go together.
template <typename T>
struct Group;

template <>
struct Group<float> {
  static constexpr int kVectors = 1, kElements = kLanes;
  static void load(const float* p, Vector (&v)[1]) { v[0] = neuralpatch::cpu::load(p); }
  static void load_mask(const void* p, IntVector (&mask)[1]) {
    mask[0] = neuralpatch::cpu::load(static_cast<const int32_t*>(p));
  }
  static void pack(const Vector (&v)[1], IntVector& packed) { packed = (IntVector)v[0]; }
  static void store(float* p, IntVector packed) { neuralpatch::cpu::store(p, (Vector)packed); }
};

// Two elements share a 32-bit word: the even ones are shifted up, the odd ones are in place already.
template <>
struct Group<BFloat16> {
  static constexpr int kVectors = 2, kElements = 2 * kLanes;
  static IntVector words(const void* p) { return *reinterpret_cast<const UnalignedIntVector16*>(p); }
  static void load(const BFloat16* p, Vector (&v)[2]) {
    const IntVector word = words(p);
    v[0] = (Vector)(word << 16);
    v[1] = (Vector)(word & kHigh);
  }
  static void load_mask(const void* p, IntVector (&mask)[2]) {
    const IntVector word = words(p);
    mask[0] = word << 16 >> 16;
    mask[1] = word >> 16;
  }
  static void pack(const Vector (&v)[2], IntVector& packed) {
    packed = ((rounded(v[0]) >> 16) & 0xffff) | (rounded(v[1]) & kHigh);
  }
  static void store(BFloat16* p, IntVector packed) { *reinterpret_cast<UnalignedIntVector16*>(p) = packed; }

 private:
  static constexpr int32_t kHigh = static_cast<int32_t>(0xffff0000u);
  // In the high half, as from_float rounds.
  static IntVector rounded(Vector v) {
    const IntVector bits = (IntVector)v;
    const IntVector result = bits + 0x7fff + ((bits >> 16) & 1);
    return v == v ? result : IntVector{} + 0x7fc00000;
  }
};

// Bit operations on single elements, which the compiler vectorises.
template <>
struct Group<Float16> {
  static constexpr int kVectors = 2, kElements = 2 * kLanes;
  static void load(const Float16* p, Vector (&v)[2]) {
    float wide[kElements];
    for (int i = 0; i < kElements; ++i) wide[i] = to_float(p[i]);
    for (int i = 0; i < 2; ++i) v[i] = neuralpatch::cpu::load(wide + i * kLanes);
  }
  static void load_mask(const void* p, IntVector (&mask)[2]) {
    int32_t wide[kElements];
    for (int i = 0; i < kElements; ++i) wide[i] = static_cast<const int16_t*>(p)[i];
    for (int i = 0; i < 2; ++i) mask[i] = neuralpatch::cpu::load(wide + i * kLanes);
  }
  static void pack(const Vector (&v)[2], IntVector& packed) {
    float wide[kElements];
    Float16 narrow[kElements];
    for (int i = 0; i < 2; ++i) neuralpatch::cpu::store(wide + i * kLanes, v[i]);
    for (int i = 0; i < kElements; ++i) from_float(wide[i], narrow[i]);
    packed = *reinterpret_cast<const UnalignedIntVector16*>(narrow);
  }
  static void store(Float16* p, IntVector packed) { *reinterpret_cast<UnalignedIntVector16*>(p) = packed; }
};

template <bool kStream, typename T>
inline void put(T* p, const Vector (&v)[Group<T>::kVectors]) {
  IntVector packed;
  Group<T>::pack(v, packed);
  if (kStream) {
    stream_store(p, packed);
  } else {
    Group<T>::store(p, packed);
  }
}

// Whether rows of `channels` elements that begin at p are made of whole, aligned vectors.
template <typename T>
bool streamable(const T* p, int64_t channels) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Vector) == 0 && channels % Group<T>::kElements == 0;
}

// sum + the products of a group of elements of a and b, in any order.
template <typename T>
inline Vector add_products(const T* a, const T* b, Vector sum) {
  Vector x[Group<T>::kVectors], y[Group<T>::kVectors];
  Group<T>::load(a, x);
  Group<T>::load(b, y);
  for (int v = 0; v < Group<T>::kVectors; ++v) sum += x[v] * y[v];
  return sum;
}

#if defined(NEURALPATCH_PAIRS)
inline Vector add_products(const BFloat16* a, const BFloat16* b, Vector sum) {
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(a),
                                  (__m512bh)_mm512_loadu_si512(b));
}
#endif

template <typename T>
float dot_of(const T* a, const T* b, int64_t count) {
  constexpr int kElements = Group<T>::kElements, kSums = 4;  // side by side, to hide the latency of additions
  Vector sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kElements <= count; i += kSums * kElements) {
    for (int s = 0; s < kSums; ++s)
      sum[s] = add_products(a + i + s * kElements, b + i + s * kElements, sum[s]);
  }
  for (; i + kElements <= count; i += kElements) sum[0] = add_products(a + i, b + i, sum[0]);
  double rest = 0;
  for (; i < count; ++i) rest += static_cast<double>(to_float(a[i])) * to_float(b[i]);
  return static_cast<float>(sum_lanes((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest);
}

template <typename T, bool kStream>
void weighted_sum_of(const void* const* sources, const float* weight, int64_t count, int64_t channels,
                     T* result) {
  using G = Group<T>;
  constexpr int kGroups = 4 / G::kVectors;  // summed side by side, to hide the latency of additions
  int64_t c = 0;
  const auto sum_groups = [&](auto groups) {
    constexpr int kCount = decltype(groups)::value;
    for (; c + kCount * G::kElements <= channels; c += kCount * G::kElements) {
      Vector sum[kCount][G::kVectors] = {};
      for (int64_t s = 0; s < count; ++s) {
        for (int g = 0; g < kCount; ++g) {
          Vector value[G::kVectors];
          G::load(static_cast<const T*>(sources[s]) + c + g * G::kElements, value);
          for (int v = 0; v < G::kVectors; ++v) sum[g][v] += weight[s] * value[v];
        }
      }
      for (int g = 0; g < kCount; ++g) put<kStream>(result + c + g * G::kElements, sum[g]);
    }
  };
  sum_groups(std::integral_constant<int, kGroups>());
  sum_groups(std::integral_constant<int, 1>());
  for (; c < channels; ++c) {
    float sum = 0;
    for (int64_t s = 0; s < count; ++s) sum += weight[s] * to_float(static_cast<const T*>(sources[s])[c]);
    from_float(sum, result[c]);
  }
}

template <typename T, bool kGradient, bool kStream>
double texture_loss_of(const T* features, const T* target, const float* weight, int64_t pixels,
                       int64_t channels, T* gradient) {
  using G = Group<T>;
  double total = 0;
  for (int64_t p = 0; p < pixels; ++p, features += channels, target += channels) {
    const float slope = 2 * weight[p];
    const bool counts = weight[p] != 0;
    Vector squares = {};
    double rest = 0;
    int64_t c = 0;
    for (; c + G::kElements <= channels && (kGradient || counts); c += G::kElements) {
      Vector difference[G::kVectors] = {};
      if (counts) {
        Vector goal[G::kVectors];
        G::load(features + c, difference);
        G::load(target + c, goal);
        for (int v = 0; v < G::kVectors; ++v) {
          difference[v] -= goal[v];
          squares += difference[v] * difference[v];
          difference[v] *= slope;
        }
      }
      if (kGradient) put<kStream>(gradient + c, difference);
    }
    for (; c < channels; ++c) {
      const float difference = counts ? to_float(features[c]) - to_float(target[c]) : 0.0f;
      rest += static_cast<double>(difference) * difference;
      if (kGradient) from_float(slope * difference, gradient[c]);
    }
    if (counts) total += weight[p] * (sum_lanes(squares) + rest);
    if (kGradient) gradient += channels;
  }
  return total;
}

// The masks are integers as wide as T.
template <typename T, bool kGradient>
double variation_row_of(const T* x, const T* above, const T* below, const void* right_mask,
                        const void* up_mask, const void* down_mask, int64_t count, T* gradient) {
  using G = Group<T>;
  using Mask = std::conditional_t<sizeof(T) == 4, int32_t, int16_t>;
  const auto* right = static_cast<const Mask*>(right_mask);
  const auto* up = static_cast<const Mask*>(up_mask);
  const auto* down = static_cast<const Mask*>(down_mask);
  double rest = 0;
  const auto single = [&](int64_t i) {
    const float centre = to_float(x[i]);
    const float to_left = right[i - 1] ? centre - to_float(x[i - 1]) : 0.0f;
    const float to_right = right[i] ? centre - to_float(x[i + 1]) : 0.0f;
    const float to_above = up[i] ? centre - to_float(above[i]) : 0.0f;
    const float to_below = down[i] ? centre - to_float(below[i]) : 0.0f;
    rest += static_cast<double>(to_right) * to_right + static_cast<double>(to_below) * to_below;
    if (kGradient) from_float(2 * (to_left + to_right + to_above + to_below), gradient[i]);
  };
  const auto difference = [](const Vector(&a)[G::kVectors], const T* other, const Mask* mask,
                             Vector(&result)[G::kVectors]) {
    Vector b[G::kVectors];
    IntVector counts[G::kVectors];
    G::load(other, b);
    G::load_mask(mask, counts);
    for (int v = 0; v < G::kVectors; ++v) result[v] = (Vector)((IntVector)(a[v] - b[v]) & counts[v]);
  };
  Vector squares = {};
  int64_t i = 0;
  if (count > 0) single(i++);
  for (; i + G::kElements < count; i += G::kElements) {
    Vector centre[G::kVectors], left[G::kVectors], next[G::kVectors], over[G::kVectors], under[G::kVectors];
    G::load(x + i, centre);
    difference(centre, x + i - 1, right + i - 1, left);
    difference(centre, x + i + 1, right + i, next);
    difference(centre, above + i, up + i, over);
    difference(centre, below + i, down + i, under);
    for (int v = 0; v < G::kVectors; ++v) {
      squares += next[v] * next[v] + under[v] * under[v];
      centre[v] = 2.0f * (left[v] + next[v] + over[v] + under[v]);
    }
    if (kGradient) put<false>(gradient + i, centre);
  }
  for (; i < count; ++i) single(i);
  return sum_lanes(squares) + rest;
}

// Calls body(static_cast<const T*>(nullptr)) with the element type T that `dtype` names.
template <typename Body>
auto with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kBFloat16:
      return body(static_cast<const BFloat16*>(nullptr));
    case DType::kFloat16:
      return body(static_cast<const Float16*>(nullptr));
    default:
      return body(static_cast<const float*>(nullptr));
  }
}

template <typename Pointer>
using Element = std::remove_const_t<std::remove_pointer_t<Pointer>>;

float dot(const void* a, const void* b, DType dtype, int64_t count) {
  return with_type(dtype, [&](auto type) {
    using T = Element<decltype(type)>;
    return dot_of(static_cast<const T*>(a), static_cast<const T*>(b), count);
  });
}

void weighted_sum(const void* const* sources, const float* weight, int64_t count, DType dtype,
                  int64_t channels, bool stream, void* result) {
  with_type(dtype, [&](auto type) {
    using T = Element<decltype(type)>;
    T* const sum = static_cast<T*>(result);
    const auto body =
        stream && streamable(sum, channels) ? weighted_sum_of<T, true> : weighted_sum_of<T, false>;
    body(sources, weight, count, channels, sum);
  });
}

double texture_loss(const void* features, const void* target, const float* weight, DType dtype,
                    int64_t pixels, int64_t channels, bool stream, void* gradient) {
  return with_type(dtype, [&](auto type) {
    using T = Element<decltype(type)>;
    T* const slope = static_cast<T*>(gradient);
    const auto body = slope == nullptr                        ? texture_loss_of<T, false, false>
                      : stream && streamable(slope, channels) ? texture_loss_of<T, true, true>
                                                              : texture_loss_of<T, true, false>;
    return body(static_cast<const T*>(features), static_cast<const T*>(target), weight, pixels, channels,
                slope);
  });
}

double variation_row(const void* x, const void* above, const void* below, const void* right, const void* up,
                     const void* down, DType dtype, int64_t count, void* gradient) {
  return with_type(dtype, [&](auto type) {
    using T = Element<decltype(type)>;
    const auto body = gradient == nullptr ? variation_row_of<T, false> : variation_row_of<T, true>;
    return body(static_cast<const T*>(x), static_cast<const T*>(above), static_cast<const T*>(below), right,
                up, down, count, static_cast<T*>(gradient));
  });
}

#if defined(NEURALPATCH_PAIRS)
constexpr auto kMultiplyPairs = multiply_rows<BFloat16Pairs, kGroup>;
#else
constexpr decltype(Kernels::multiply_pairs) kMultiplyPairs = nullptr;
#endif

constexpr Kernels table(const char* name) {
  return {name,           kLanes,        kGroup,       multiply_rows<Floats, kGroup>,
          kMultiplyPairs, sum_diagonals, update_best,  widen,
          sum_of_squares, dot,           weighted_sum, texture_loss,
          variation_row};
}

}  // namespace
}  // namespace neuralpatch::cpu
