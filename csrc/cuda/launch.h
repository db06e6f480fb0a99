// What the launchers share: element types, launch sizes, errors, and sums over a block.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/element.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// A type as a value, for generic lambdas.
template <typename T>
struct Type {
  using type = T;
};

// Calls body(Type<T>()) with the element type that `dtype` names.
template <typename Body>
const char* with_element_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(Type<float>());
    case DType::kBFloat16:
      return body(Type<__nv_bfloat16>());
    case DType::kFloat16:
      return body(Type<__half>());
  }
  return "unknown element type";
}

// A number as a value, for generic lambdas.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

inline bool aligned_16(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// Calls body(Type<T>(), Constant<N>()), where N elements fit into one access of 16 bytes if `vectorised`, and
// N = 1 else.
template <typename Body>
const char* with_pack(DType dtype, bool vectorised, Body&& body) {
  return with_element_type(dtype, [&](auto type) {
    constexpr int kElements = 16 / sizeof(typename decltype(type)::type);
    return vectorised ? body(type, Constant<kElements>()) : body(type, Constant<1>());
  });
}

inline int64_t element_size(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

inline const char* error_text(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// The error of the launches just made.
inline const char* launch_error() { return error_text(cudaGetLastError()); }

// Blocks for `items` items at `per_block` each, for kernels that stride over the grid.
inline unsigned blocks_for(int64_t items, int64_t per_block, int64_t most) {
  const int64_t blocks = (items + per_block - 1) / per_block;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

inline cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

// Hands out parts of a buffer, each aligned to 256 bytes. Without a buffer, only counts.
class Allocator {
 public:
  explicit Allocator(void* base) : base_(static_cast<char*>(base)) {}
  template <typename T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return part;
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* base_;
  int64_t bytes_ = 0;
};

// How a warp is shared out over the channels of pixel-major maps: `lanes` lanes, a power of two, take one
// pixel.
inline int lanes_per_pixel(int64_t packs) {
  int lanes = 1;
  while (lanes < packs && lanes < kWarp) lanes *= 2;
  return lanes;
}

// Sum over the block's threads in a fixed order; valid in thread 0.
template <int kThreads>
__device__ __forceinline__ double block_sum(double value) {
  __shared__ double warp_sums[kThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_down_sync(kAllLanes, value, offset);
  if (threadIdx.x % kWarp == 0) warp_sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kThreads / kWarp; ++i) sum += warp_sums[i];
  }
  return sum;
}

// total = the sum of `count` partial sums, in a fixed order. For one block of kThreads threads.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) add_partial_sums(const double* partial, int count, float* total) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += kThreads) sum += partial[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *total = static_cast<float>(sum);
}

}  // namespace neuralpatch::cuda
