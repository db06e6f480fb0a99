// Launches of the kernels in faulty_kernels.cu; x and y are device arrays.
#pragma once

#include <cuda_runtime.h>

namespace faulty {

void reverse(const float* x, float* y, bool with_barrier);  // 64 values
void global_overflow(float* x, int count);                  // writes x[count]
void shared_overflow(float* x);                             // 32 values
void dynamic_overflow(float* x);                            // 32 values
void divergent_barrier(float* x);                           // 32 values
void barrier_against_shuffle(float* x);                     // 32 values
void async_copy(const float* x, float* y, bool with_wait);  // 128 values, 16-byte aligned
void too_many_threads(float* x);

}  // namespace faulty
