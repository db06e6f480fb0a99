#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>

namespace neuralpatch::cpu {
namespace {

const Kernels& choose() {
  const char* wanted = std::getenv("NEURALPATCH_CPU_ISA");
  const auto allowed = [wanted](const Kernels& kernels) {
    return wanted == nullptr || std::strcmp(wanted, kernels.name) == 0;
  };
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && allowed(avx512_kernels())) {
    return avx512_kernels();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && allowed(avx2_kernels())) {
    return avx2_kernels();
  }
#endif
  (void)allowed;
  return baseline_kernels();
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace neuralpatch::cpu
