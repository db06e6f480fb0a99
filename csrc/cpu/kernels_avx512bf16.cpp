// Inner loops for x86-64 with AVX-512 and its products of bfloat16 pairs.
#if defined(__x86_64__)

#include <immintrin.h>

#include <type_traits>

#include "core/dtype.h"
#include "cpu/kernels.h"

#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#endif

#define NEURALPATCH_PAIRS
#define NEURALPATCH_LANES 16
#define NEURALPATCH_GROUP 14
#include "cpu/kernels_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace neuralpatch::cpu {

const Kernels& avx512bf16_kernels() {
  static constexpr Kernels kernels = table("avx512bf16");
  return kernels;
}

}  // namespace neuralpatch::cpu

#endif
