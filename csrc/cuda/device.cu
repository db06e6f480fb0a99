// The devices themselves.
#include <cuda_runtime.h>

#include "neuralpatch/operators.h"

namespace neuralpatch::cuda {

int device_count() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  return error == cudaSuccess ? count : -static_cast<int>(error);
}

}  // namespace neuralpatch::cuda
