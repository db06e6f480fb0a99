// Averages the matched patches where they overlap: a scatter of the matches' numbers, then a gather of their
// pixels.
#include <algorithm>

#include "core/geometry.h"
#include "core/keys.h"
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;
constexpr int64_t kMaxExtent = 1 << 30;  // rows, columns and channels are counted in 32 bits

// The maps, by value, so that nothing has to be copied to the device before.
struct Keys {
  KeyMap map[VotePatchesArgs::kMaxKeys];
  int count;
};

// source[position] = where the key patch placed there begins. Positions are distinct: no two threads meet.
__global__ void __launch_bounds__(kThreads)
    scatter_kernel(const __grid_constant__ Keys keys, const int64_t* position, const int64_t* index,
                   int64_t matches, int size, int64_t* source) {
  for (int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x; m < matches;
       m += int64_t(gridDim.x) * kThreads) {
    source[position[m]] = encode_source(keys.map, keys.count, index[m], size);
  }
}

// `lanes` threads take a target pixel, kPack channels at a time, and add the patches that cover it in
// row-major order.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreads, 3)
    gather_kernel(const __grid_constant__ Keys keys, const int64_t* source, int channels, int height,
                  int width, int size, int lanes, T* target, float* count) {
  const int pixels_per_block = kThreads / lanes;
  const int last_patch_row = height - size, last_patch_column = width - size;  // negative where no patch fits
  for (int y = blockIdx.y; y < height; y += gridDim.y) {
    for (int64_t x = int64_t(blockIdx.x) * pixels_per_block + threadIdx.x / lanes; x < width;
         x += gridDim.x * pixels_per_block) {
      const int64_t pixel = int64_t(y) * width + x;
      for (int c = threadIdx.x % lanes * kPack; c < channels; c += lanes * kPack) {
        float sum[kPack] = {};
        int patches = 0;
        for (int row = max(y - size + 1, 0); row <= min(y, last_patch_row); ++row) {
          const int64_t* sources = source + int64_t(row) * (last_patch_column + 1);
          for (int column = max(int(x) - size + 1, 0); column <= min(int(x), last_patch_column); ++column) {
            const int64_t corner = sources[column];
            if (corner == kNoSource) continue;
            ++patches;
            const KeyMap& key = keys.map[source_key(corner)];
            const int64_t key_pixel = source_pixel(corner) + (y - row) * key.width + (int(x) - column);
            float value[kPack];
            load_floats<kPack>(static_cast<const T*>(key.features) + key_pixel * channels + c, value);
#pragma unroll
            for (int i = 0; i < kPack; ++i) sum[i] += value[i];
          }
        }
        if (c == 0) count[pixel] = static_cast<float>(patches);
        const float share = 1.0f / static_cast<float>(max(patches, 1));
#pragma unroll
        for (int i = 0; i < kPack; ++i) sum[i] *= share;
        store_floats<kPack>(target + pixel * channels + c, sum);
      }
    }
  }
}

bool vectorised(const VotePatchesArgs& args) {
  bool aligned = args.channels * element_size(args.dtype) % 16 == 0 && aligned_16(args.target);
  for (int i = 0; i < args.keys; ++i) aligned = aligned && aligned_16(args.key[i].features);
  return aligned;
}

}  // namespace

const char* vote_patches(const VotePatchesArgs& args, void* stream) {
  if (args.channels == 0 || args.height == 0 || args.width == 0) return nullptr;
  if (std::max({args.channels, args.height, args.width}) > kMaxExtent) {
    return "vote_patches: a feature map is too wide or has too many channels";
  }
  Keys keys{};
  std::copy_n(args.key, args.keys, keys.map);
  keys.count = args.keys;
  const int64_t positions = positions_along(args.height, args.size) * positions_along(args.width, args.size);
  if (positions > 0) {
    const cudaError_t error =
        cudaMemsetAsync(args.source, 0xff, positions * sizeof(int64_t), as_stream(stream));  // -1 everywhere
    if (error != cudaSuccess) return error_text(error);
  }
  if (args.matches > 0) {
    scatter_kernel<<<blocks_for(args.matches, kThreads, kMaxBlocks), kThreads, 0, as_stream(stream)>>>(
        keys, args.position, args.index, args.matches, args.size, args.source);
  }
  return with_pack(args.dtype, vectorised(args), [&](auto type, auto pack) {
    using T = typename decltype(type)::type;
    constexpr int kPack = decltype(pack)::value;
    const int lanes = lanes_per_pixel(args.channels / kPack);
    const dim3 blocks(blocks_for(args.width, kThreads / lanes, kMaxBlocks),
                      blocks_for(args.height, 1, 65535));
    gather_kernel<T, kPack><<<blocks, kThreads, 0, as_stream(stream)>>>(
        keys, args.source, int(args.channels), int(args.height), int(args.width), args.size, lanes,
        static_cast<T*>(args.target), args.count);
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
