// Kernels with one mistake each, to show that the emulation finds it.
#include "core/copy.h"
#include "faulty_kernels.h"

namespace faulty {
namespace {

__global__ void reverse_kernel(const float* x, float* y, bool with_barrier) {
  __shared__ float staged[64];
  staged[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  y[threadIdx.x] = staged[blockDim.x - 1 - threadIdx.x];
}

__global__ void global_overflow_kernel(float* x, int count) {
  if (int(threadIdx.x) <= count) x[threadIdx.x] = 1;
}

__global__ void shared_overflow_kernel(float* x) {
  __shared__ float staged[32];
  staged[threadIdx.x + 1] = 1;
  __syncthreads();
  x[threadIdx.x] = staged[threadIdx.x];
}

__global__ void dynamic_overflow_kernel(float* x) {
  extern __shared__ float staged[];
  staged[threadIdx.x + 1] = 1;
  __syncthreads();
  x[threadIdx.x] = staged[threadIdx.x];
}

__global__ void divergent_barrier_kernel(float* x) {
  if (threadIdx.x < 16) {
    __syncthreads();
    x[threadIdx.x] = 1;
  } else {
    x[threadIdx.x] = 2;
    __syncthreads();
  }
}

__global__ void barrier_against_shuffle_kernel(float* x) {
  if (threadIdx.x < 16) {
    __syncthreads();
  } else {
    x[threadIdx.x] = __shfl_sync(0xffffffffu, x[threadIdx.x], 0);
  }
}

__global__ void async_copy_kernel(const float* x, float* y, bool with_wait) {
  __shared__ __align__(16) float staged[128];
  neuralpatch::start_copy_16(&staged[4 * threadIdx.x], &x[4 * threadIdx.x], true);
  neuralpatch::commit_copies();
  if (with_wait) neuralpatch::wait_copies<0>();
  for (int i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = staged[4 * threadIdx.x + i];
}

}  // namespace

void reverse(const float* x, float* y, bool with_barrier) { reverse_kernel<<<1, 64>>>(x, y, with_barrier); }
void global_overflow(float* x, int count) { global_overflow_kernel<<<1, 64>>>(x, count); }
void shared_overflow(float* x) { shared_overflow_kernel<<<1, 32>>>(x); }
void dynamic_overflow(float* x) { dynamic_overflow_kernel<<<1, 32, 32 * sizeof(float)>>>(x); }
void divergent_barrier(float* x) { divergent_barrier_kernel<<<1, 32>>>(x); }
void barrier_against_shuffle(float* x) { barrier_against_shuffle_kernel<<<1, 32>>>(x); }
void async_copy(const float* x, float* y, bool with_wait) { async_copy_kernel<<<1, 32>>>(x, y, with_wait); }
void too_many_threads(float* x) { global_overflow_kernel<<<1, 2048>>>(x, 0); }

}  // namespace faulty
