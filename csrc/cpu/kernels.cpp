#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace neuralpatch::cpu {
namespace {

const Kernels& choose() {
  const char* wanted = std::getenv("NEURALPATCH_CPU_ISA");
  const auto allowed = [wanted](const Kernels& kernels) {
    return wanted == nullptr || std::strcmp(wanted, kernels.name) == 0;
  };
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16") && allowed(avx512bf16_kernels())) {
    return avx512bf16_kernels();
  }
  if (avx512 && allowed(avx512_kernels())) return avx512_kernels();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && allowed(avx2_kernels())) {
    return avx2_kernels();
  }
#endif
  (void)allowed;
  return baseline_kernels();
}

}  // namespace

void finish_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace neuralpatch::cpu
