// Inner loops for any machine: 128-bit vectors.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <type_traits>

#include "core/dtype.h"
#include "cpu/kernels.h"

#define NEURALPATCH_LANES 4
#if defined(__aarch64__)
#define NEURALPATCH_GROUP 12
#else
#define NEURALPATCH_GROUP 6
#endif
#include "cpu/kernels_body.h"

namespace neuralpatch::cpu {

const Kernels& baseline_kernels() {
  static constexpr Kernels kernels = table("baseline");
  return kernels;
}

}  // namespace neuralpatch::cpu
