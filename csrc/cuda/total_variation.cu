// Total variation over the masked pixels and their rim, and its gradient.
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;  // one partial sum each; the same on every device, so that results are too

// A thread takes a pixel, and all its channels. Each pair of neighbours is counted once, at its upper or left
// pixel, and contributes to the gradient at both.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    total_variation_kernel(const T* x, const bool* mask, int64_t channels, int64_t height, int64_t width,
                           T* gradient, double* partial) {
  const int64_t pixels = height * width;
  double sum = 0;
  for (int64_t pixel = int64_t(blockIdx.x) * kThreads + threadIdx.x; pixel < pixels;
       pixel += int64_t(gridDim.x) * kThreads) {
    const int64_t row = pixel / width, column = pixel - row * width;
    const bool masked = mask[pixel];
    const bool left = column > 0 && (masked || mask[pixel - 1]);
    const bool right = column + 1 < width && (masked || mask[pixel + 1]);
    const bool above = row > 0 && (masked || mask[pixel - width]);
    const bool below = row + 1 < height && (masked || mask[pixel + width]);
    float squares = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = x + c * pixels;
      float slope = 0;
      if (left || right || above || below) {
        const float value = to_float(plane[pixel]);
        if (left) slope += value - to_float(plane[pixel - 1]);
        if (above) slope += value - to_float(plane[pixel - width]);
        if (right) {
          const float difference = value - to_float(plane[pixel + 1]);
          slope += difference;
          squares += difference * difference;
        }
        if (below) {
          const float difference = value - to_float(plane[pixel + width]);
          slope += difference;
          squares += difference * difference;
        }
      }
      gradient[c * pixels + pixel] = from_float<T>(2 * slope);
    }
    sum += squares;
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

}  // namespace

int64_t total_variation_workspace(const TotalVariationArgs&) { return kMaxBlocks; }

const char* total_variation(const TotalVariationArgs& args, void* stream) {
  if (args.channels == 0 || args.height == 0 || args.width == 0) {
    return error_text(cudaMemsetAsync(args.loss, 0, sizeof(float), as_stream(stream)));
  }
  return with_element_type(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const unsigned blocks = blocks_for(args.height * args.width, kThreads, kMaxBlocks);
    total_variation_kernel<T><<<blocks, kThreads, 0, as_stream(stream)>>>(
        static_cast<const T*>(args.x), args.mask, args.channels, args.height, args.width,
        static_cast<T*>(args.gradient), args.workspace);
    add_partial_sums<kThreads><<<1, kThreads, 0, as_stream(stream)>>>(args.workspace, int(blocks), args.loss);
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
