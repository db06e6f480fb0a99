// The texture term: weighted squared distance of the features to their targets, and its gradient.
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;  // one partial sum each; the same on every device, so that results are too

// `lanes` threads take a pixel, kPack channels at a time. Values and gradient, which may be null, come from
// one reading of the features.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads)
    texture_loss_kernel(const T* features, const T* target, const float* weights, int64_t pixels,
                        int64_t channels, int lanes, T* gradient, double* partial) {
  const int lane = threadIdx.x % lanes;
  const int64_t pixels_per_block = kThreads / lanes;
  double sum = 0;
  for (int64_t pixel = blockIdx.x * pixels_per_block + threadIdx.x / lanes; pixel < pixels;
       pixel += gridDim.x * pixels_per_block) {
    const float weight = weights[pixel];
#pragma unroll 1  // unrolled, it spills registers on some GPUs
    for (int64_t c = int64_t(lane) * kPack; c < channels; c += int64_t(lanes) * kPack) {
      const int64_t at = pixel * channels + c;
      float slope[kPack] = {};
      if (weight != 0) {  // often much of the map has no patches: read nothing there
        float value[kPack], goal[kPack];
        load_floats<kPack>(features + at, value);
        load_floats<kPack>(target + at, goal);
        float squares = 0;
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          const float difference = value[i] - goal[i];
          squares += difference * difference;
          slope[i] = 2 * weight * difference;
        }
        sum += static_cast<double>(weight) * squares;
      }
      if (gradient != nullptr) store_floats<kPack>(gradient + at, slope);
    }
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

bool vectorised(const TextureLossArgs& args) {
  return args.channels * element_size(args.dtype) % 16 == 0 && aligned_16(args.features) &&
         aligned_16(args.target) && aligned_16(args.gradient);
}

}  // namespace

int64_t texture_loss_workspace(const TextureLossArgs&) { return kMaxBlocks; }

const char* texture_loss(const TextureLossArgs& args, void* stream) {
  if (args.pixels == 0 || args.channels == 0) {
    return error_text(cudaMemsetAsync(args.loss, 0, sizeof(float), as_stream(stream)));
  }
  return with_pack(args.dtype, vectorised(args), [&](auto type, auto pack) {
    using T = typename decltype(type)::type;
    constexpr int kPack = decltype(pack)::value;
    const int lanes = lanes_per_pixel(args.channels / kPack);
    const unsigned blocks = blocks_for(args.pixels, kThreads / lanes, kMaxBlocks);
    texture_loss_kernel<T, kPack><<<blocks, kThreads, 0, as_stream(stream)>>>(
        static_cast<const T*>(args.features), static_cast<const T*>(args.target), args.weight, args.pixels,
        args.channels, lanes, static_cast<T*>(args.gradient), args.workspace);
    add_partial_sums<kThreads><<<1, kThreads, 0, as_stream(stream)>>>(args.workspace, int(blocks), args.loss);
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
