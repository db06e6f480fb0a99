// Functions that the host compiler, nvcc and the emulation all compile.
#pragma once

#if defined(__CUDACC__)
#define NEURALPATCH_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define NEURALPATCH_HOST_DEVICE inline
#endif
