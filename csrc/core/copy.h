// Copies of 16 bytes from global to shared memory that run while the thread computes (cp.async, sm_80 and
// later).
//
// A thread starts copies, closes them into groups with commit_copies, and waits until all but the newest
// groups are complete; a barrier then makes them visible to the other threads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/macros.h"

namespace neuralpatch {

#if defined(CUDA_EMU)

inline void start_copy_16(void* shared, const void* global, bool inside) {
  emu::async_copy(shared, global, 16, inside ? 16 : 0);
}
inline void commit_copies() { emu::commit_copies(); }
template <int kPending>
void wait_copies() {
  emu::wait_copies(kPending);
}

#elif defined(__CUDACC__)

// Writes zeros, and reads nothing, where not `inside`.
__device__ __forceinline__ void start_copy_16(void* shared, const void* global, bool inside) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const uint32_t destination = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(global),
               "r"(inside ? 16 : 0)
               : "memory");
#endif
}

__device__ __forceinline__ void commit_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
__device__ __forceinline__ void wait_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

#endif

}  // namespace neuralpatch
