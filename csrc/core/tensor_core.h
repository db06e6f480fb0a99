// Products of 16 x 16 by 16 x 8 matrices on the tensor cores: mma.m16n8k16, of bfloat16 or float16, summed in
// float32.
//
// A warp holds A [16, 16], B [16, 8] and C [16, 8] in pieces, called fragments. The fragment_* functions say
// which elements lane l holds.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/macros.h"

namespace neuralpatch {

struct MatrixElement {
  int row, column;
};

// Element i (0..7) of the A fragment of a lane.
NEURALPATCH_HOST_DEVICE MatrixElement fragment_a(int lane, int i) {
  return {lane / 4 + i / 2 % 2 * 8, lane % 4 * 2 + i % 2 + i / 4 * 8};
}

// Element i (0..3) of the B fragment of a lane.
NEURALPATCH_HOST_DEVICE MatrixElement fragment_b(int lane, int i) {
  return {lane % 4 * 2 + i % 2 + i / 2 * 8, lane / 4};
}

// Element i (0..3) of the C fragment of a lane.
NEURALPATCH_HOST_DEVICE MatrixElement fragment_c(int lane, int i) {
  return {lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2};
}

struct FragmentA {
  uint32_t pairs[4];  // two 16-bit elements each
};
struct FragmentB {
  uint32_t pairs[2];
};
struct FragmentC {
  float x[4];
};

// Four 8 x 8 matrices of 16-bit elements from shared memory (ldmatrix): lane 8 m + r points to row r of
// matrix m, 16-byte aligned; pairs[m] becomes elements (l / 4, l % 4 * 2 + {0, 1}) of matrix m in lane l.
//
// c += a b, for T = __nv_bfloat16 or __half.

#if defined(CUDA_EMU)

inline void load_matrices(const void* row, uint32_t (&pairs)[4]) {
  struct Payload {
    const void* row;
    uint32_t* pairs;
  } payload{row, pairs};
  if (reinterpret_cast<uintptr_t>(row) % 16) emu::fail("ldmatrix: a row is not aligned to 16 bytes");
  emu::warp_collective(~0u, &payload, [](void** lanes, unsigned present) {
    if (present != ~0u) emu::fail("ldmatrix: a lane is missing");
    for (int l = 0; l < 32; ++l) {
      for (int m = 0; m < 4; ++m) {
        const auto* source = static_cast<const uint32_t*>(static_cast<Payload*>(lanes[8 * m + l / 4])->row);
        static_cast<Payload*>(lanes[l])->pairs[m] = source[l % 4];
      }
    }
  });
}

template <typename T>
void multiply_add(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  struct Payload {
    FragmentC* c;
    const FragmentA* a;
    const FragmentB* b;
  } payload{&c, &a, &b};
  emu::warp_collective(~0u, &payload, [](void** lanes, unsigned present) {
    if (present != ~0u) emu::fail("mma: a lane is missing");
    float a_matrix[16][16], b_matrix[16][8];
    for (int l = 0; l < 32; ++l) {
      const auto& lane = *static_cast<Payload*>(lanes[l]);
      T elements[8];
      memcpy(elements, lane.a->pairs, sizeof lane.a->pairs);
      for (int i = 0; i < 8; ++i)
        a_matrix[fragment_a(l, i).row][fragment_a(l, i).column] = to_float(elements[i]);
      memcpy(elements, lane.b->pairs, sizeof lane.b->pairs);
      for (int i = 0; i < 4; ++i)
        b_matrix[fragment_b(l, i).row][fragment_b(l, i).column] = to_float(elements[i]);
    }
    for (int l = 0; l < 32; ++l) {
      for (int i = 0; i < 4; ++i) {
        const MatrixElement at = fragment_c(l, i);
        float sum = static_cast<Payload*>(lanes[l])->c->x[i];
        for (int k = 0; k < 16; ++k) sum += a_matrix[at.row][k] * b_matrix[k][at.column];
        static_cast<Payload*>(lanes[l])->c->x[i] = sum;
      }
    }
  });
}

#elif defined(__CUDACC__)

__device__ __forceinline__ void load_matrices(const void* row, uint32_t (&pairs)[4]) {
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
               : "r"(address)
               : "memory");
}

template <typename T>
__device__ __forceinline__ void multiply_add(FragmentC& c, const FragmentA& a, const FragmentB& b);

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define NEURALPATCH_MMA(TYPE)                                                                         \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." TYPE "." TYPE                                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                 \
               : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])                               \
               : "r"(a.pairs[0]), "r"(a.pairs[1]), "r"(a.pairs[2]), "r"(a.pairs[3]), "r"(b.pairs[0]), \
                 "r"(b.pairs[1]))
#else
#define NEURALPATCH_MMA(TYPE)
#endif

template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(FragmentC& c, const FragmentA& a,
                                                            const FragmentB& b) {
  NEURALPATCH_MMA("bf16");
}
template <>
__device__ __forceinline__ void multiply_add<__half>(FragmentC& c, const FragmentA& a, const FragmentB& b) {
  NEURALPATCH_MMA("f16");
}
#undef NEURALPATCH_MMA

#endif

}  // namespace neuralpatch
