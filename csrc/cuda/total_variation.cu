// Total variation over the masked pixels and their rim, and its gradient.
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kMaxBlocks = 1024;  // one partial sum each; the same on every device, so that results are too

// A thread takes kPack pixels of a row, and all their channels. Each pair of neighbours is counted once, at
// its upper or left pixel, and contributes to the gradient, which may be null, at both. The rows above and
// below are read again, from the caches.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads)
    total_variation_kernel(const T* x, const bool* mask, int64_t channels, int64_t height, int64_t width,
                           T* gradient, double* partial) {
  const int64_t pixels = height * width;
  double sum = 0;
  for (int64_t pixel = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * kPack; pixel < pixels;
       pixel += int64_t(gridDim.x) * kThreads * kPack) {
    const int64_t row = pixel / width, column = pixel - row * width;
    // Which pairs count: bit i of `across` is that of pixels i - 1 and i, of `above` and `below` that of
    // pixel i.
    const auto masked = [&](int64_t first) {
      const auto flags = *reinterpret_cast<const Pack<bool, kPack>*>(mask + first);
      unsigned bits = 0;
#pragma unroll
      for (int i = 0; i < kPack; ++i) bits |= unsigned(flags.x[i]) << i;
      return bits;
    };
    const bool has_left = column > 0, has_right = column + kPack < width;
    const unsigned inside = masked(pixel);
    const unsigned left = has_left && mask[pixel - 1], right = has_right && mask[pixel + kPack];
    unsigned across = (inside | inside << 1 | left | right << kPack) & ((2u << kPack) - 1);
    if (!has_left) across &= ~1u;
    if (!has_right) across &= ~(1u << kPack);
    const unsigned above = row > 0 ? inside | masked(pixel - width) : 0;
    const unsigned below = row + 1 < height ? inside | masked(pixel + width) : 0;
    float squares = 0;
    for (int64_t c = 0; c < channels; ++c) {
      const T* const at = x + c * pixels + pixel;
      float slope[kPack] = {};
      if (across || above || below) {
        // Left neighbour, the pixels, right neighbour; a value that is not read stays out of every pair.
        float value[kPack + 2] = {}, over[kPack] = {}, under[kPack] = {}, centre[kPack];
        load_floats<kPack>(at, centre);
#pragma unroll
        for (int i = 0; i < kPack; ++i) value[i + 1] = centre[i];
        if (across & 1) value[0] = to_float(at[-1]);
        if (across >> kPack & 1) value[kPack + 1] = to_float(at[kPack]);
        if (above) load_floats<kPack>(at - width, over);
        if (below) load_floats<kPack>(at + width, under);
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          if (across >> i & 1) slope[i] += centre[i] - value[i];
          if (above >> i & 1) slope[i] += centre[i] - over[i];
          if (across >> (i + 1) & 1) {
            const float difference = centre[i] - value[i + 2];
            slope[i] += difference;
            squares += difference * difference;
          }
          if (below >> i & 1) {
            const float difference = centre[i] - under[i];
            slope[i] += difference;
            squares += difference * difference;
          }
          slope[i] *= 2;
        }
      }
      if (gradient != nullptr) store_floats<kPack>(gradient + c * pixels + pixel, slope);
    }
    sum += squares;
  }
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

bool vectorised(const TotalVariationArgs& args) {
  return args.width * element_size(args.dtype) % 16 == 0 && aligned_16(args.x) && aligned_16(args.mask) &&
         aligned_16(args.gradient);
}

}  // namespace

int64_t total_variation_workspace(const TotalVariationArgs&) { return kMaxBlocks; }

const char* total_variation(const TotalVariationArgs& args, void* stream) {
  if (args.channels == 0 || args.height == 0 || args.width == 0) {
    return error_text(cudaMemsetAsync(args.loss, 0, sizeof(float), as_stream(stream)));
  }
  return with_pack(args.dtype, vectorised(args), [&](auto type, auto pack) {
    using T = typename decltype(type)::type;
    constexpr int kPack = decltype(pack)::value;
    const unsigned blocks = blocks_for(args.height * args.width / kPack, kThreads, kMaxBlocks);
    total_variation_kernel<T, kPack><<<blocks, kThreads, 0, as_stream(stream)>>>(
        static_cast<const T*>(args.x), args.mask, args.channels, args.height, args.width,
        static_cast<T*>(args.gradient), args.workspace);
    add_partial_sums<kThreads><<<1, kThreads, 0, as_stream(stream)>>>(args.workspace, int(blocks), args.loss);
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
