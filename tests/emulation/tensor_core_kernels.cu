// One-warp kernels around the tensor-core primitives, for their tests.
#include "core/tensor_core.h"
#include "tensor_core_kernels.h"

namespace {

template <typename T>
__global__ void multiply_kernel(const T* a, const T* b, float* c) {
  __shared__ __align__(16) T a_rows[16 * 16];
  __shared__ __align__(16) T b_columns[8 * 16];
  const int lane = threadIdx.x;
  for (int i = lane; i < 16 * 16; i += 32) a_rows[i] = a[i];
  for (int i = lane; i < 8 * 16; i += 32) b_columns[i] = b[i];
  __syncthreads();
  neuralpatch::FragmentA fragment_a;
  neuralpatch::load_matrices(&a_rows[lane % 16 * 16 + lane / 16 * 8], fragment_a.pairs);
  uint32_t pairs[4];  // the second half repeats the first: there are only 8 columns
  neuralpatch::load_matrices(&b_columns[lane % 8 * 16 + lane / 8 % 2 * 8], pairs);
  const neuralpatch::FragmentB fragment_b{{pairs[0], pairs[1]}};
  neuralpatch::FragmentC sum = {};
  neuralpatch::multiply_add<T>(sum, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) {
    const neuralpatch::MatrixElement at = neuralpatch::fragment_c(lane, i);
    c[at.row * 8 + at.column] = sum.x[i];
  }
}

}  // namespace

void multiply_bfloat16(const void* a, const void* b, float* c) {
  multiply_kernel<<<1, 32>>>(static_cast<const __nv_bfloat16*>(a), static_cast<const __nv_bfloat16*>(b), c);
}
void multiply_float16(const void* a, const void* b, float* c) {
  multiply_kernel<<<1, 32>>>(static_cast<const __half*>(a), static_cast<const __half*>(b), c);
}
