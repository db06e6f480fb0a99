// The part of CUDA that the kernels use, on the host: keywords, built-in variables, intrinsics, runtime
// calls. One OS thread runs one block at a time; the block's threads are fibers. Made for checking, not for
// speed.
#pragma once

#include <math.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>

#include "emulation/async_copy.h"
#include "emulation/block.h"
#include "emulation/warp.h"

#define CUDA_EMU 1

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

#define threadIdx (emu::self->index)
#define blockIdx (emu::block().index)
#define blockDim (emu::block().size)
#define gridDim (emu::block().grid)
#define __syncthreads() ((void)emu::barrier(__FILE__, __LINE__))
#define __syncthreads_or(vote) (emu::barrier(__FILE__, __LINE__, (vote)) != 0)

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::max;
using std::min;

inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }

// Blocks run one after another and fibers only switch at barriers, so a plain read-modify-write is atomic.
inline int atomicMin(int* p, int value) { return std::exchange(*p, std::min(*p, value)); }
inline int atomicMax(int* p, int value) { return std::exchange(*p, std::max(*p, value)); }

using cudaStream_t = void*;
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

inline cudaError_t cudaGetLastError() { return std::exchange(emu::last_error, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    default:
      return emu::last_error_text.c_str();
  }
}
inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t = nullptr) {
  memset(p, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int /*device*/) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 2;  // few, so that a block has several items of work
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = emu::settings.compute_capability / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = emu::settings.compute_capability % 10;
      return cudaSuccess;
  }
  return cudaErrorInvalidValue;
}
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
  return size_t(bytes) > emu::kMaxSharedBytes ? cudaErrorInvalidValue : cudaSuccess;
}
