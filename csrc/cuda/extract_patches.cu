// Dense patches, and the adjoint: a gather, so that no two threads add to one element.
#include "core/geometry.h"
#include "cuda/launch.h"

namespace neuralpatch::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 20;
constexpr int64_t kMaxPatchElements = 1 << 30;  // counted in 32 bits

// A warp takes a patch, and each of its lanes kPack consecutive elements at a time. `Bits` is an integer as
// wide as an element: there is no arithmetic.
template <typename Bits, int kPack>
__global__ void __launch_bounds__(kThreads)
    extract_kernel(const Bits* features, Bits* patches, int64_t count, int64_t patches_per_map,
                   int64_t columns, int patch_elements, int size, int stride, int64_t batch_stride,
                   int64_t channel_stride, int64_t row_stride, int64_t column_stride) {
  constexpr int kWarps = kThreads / kWarp;
  for (int64_t patch = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp; patch < count;
       patch += int64_t(gridDim.x) * kWarps) {
    const int64_t batch = patch / patches_per_map, number = patch - batch * patches_per_map;
    const int64_t row = number / columns, column = number - row * columns;
    const Bits* corner =
        features + batch * batch_stride + row * stride * row_stride + column * stride * column_stride;
    for (int i = threadIdx.x % kWarp * kPack; i < patch_elements; i += kWarp * kPack) {
      int channel = i / (size * size);
      int dy = i / size % size;
      int dx = i % size;
      Pack<Bits, kPack> pack;
#pragma unroll
      for (int k = 0; k < kPack; ++k) {
        pack.x[k] = corner[channel * channel_stride + dy * row_stride + dx * column_stride];
        if (++dx == size) {
          dx = 0;
          if (++dy == size) {
            dy = 0;
            ++channel;
          }
        }
      }
      *reinterpret_cast<Pack<Bits, kPack>*>(patches + patch * patch_elements + i) = pack;
    }
  }
}

// A block takes a tile of kTile channels by kTile columns of one row of the gradient. Each lane adds up a
// channel, over the patches that contain the pixel, in row-major order, so that a warp reads consecutive
// channels of a patch; the tile is turned in shared memory, so that it writes consecutive columns.
constexpr int kTile = kWarp;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    extract_backward_kernel(const T* grad_patches, T* grad_features, int64_t tiles, int channels, int height,
                            int width, int size, int stride, int rows, int columns) {
  __shared__ float sums[kTile][kTile + 1];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int column_tiles = (width + kTile - 1) / kTile, channel_tiles = (channels + kTile - 1) / kTile;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t line = tile / column_tiles, group = line / channel_tiles;
    const int x0 = int(tile - line * column_tiles) * kTile, c0 = int(line - group * channel_tiles) * kTile;
    const int64_t batch = group / height;
    const int y = int(group - batch * height);
    const int first_row = first_patch_containing(y, size, stride), last_row = min(y / stride, rows - 1);
    for (int i = warp; i < kTile; i += kThreads / kWarp) {
      const int x = x0 + i, channel = c0 + lane;
      float sum = 0;
      if (x < width && channel < channels) {
        const int first_column = first_patch_containing(x, size, stride);
        const int last_column = min(x / stride, columns - 1);
        const int step = channels * size * size - stride;  // to the same pixel in the patch to the right
        for (int row = first_row; row <= last_row; ++row) {
          const int64_t patch = (batch * rows + row) * columns + first_column;
          const int dy = y - row * stride, dx = x - first_column * stride;
          const T* at = grad_patches + ((patch * channels + channel) * size + dy) * size + dx;
#pragma unroll 1  // unrolled, it spills registers on some GPUs
          for (int column = first_column; column <= last_column; ++column, at += step) {
            sum += to_float(*at);
          }
        }
      }
      sums[lane][i] = sum;
    }
    __syncthreads();
    for (int i = warp; i < kTile; i += kThreads / kWarp) {
      const int x = x0 + lane, channel = c0 + i;
      if (x < width && channel < channels) {
        grad_features[((batch * channels + channel) * height + y) * width + x] = from_float<T>(sums[i][lane]);
      }
    }
    __syncthreads();
  }
}

template <typename Bits, int kPack>
const char* launch_extract(const ExtractPatchesArgs& args, void* stream) {
  const int64_t patch_elements = args.channels * args.size * args.size;
  if (patch_elements > kMaxPatchElements) return "extract_patches: a patch has too many elements";
  const int64_t count = args.batch * args.rows * args.columns;
  const unsigned blocks = blocks_for(count, kThreads / kWarp, kMaxBlocks);
  extract_kernel<Bits, kPack><<<blocks, kThreads, 0, as_stream(stream)>>>(
      static_cast<const Bits*>(args.features), static_cast<Bits*>(args.patches), count,
      args.rows * args.columns, args.columns, int(patch_elements), args.size, args.stride, args.batch_stride,
      args.channel_stride, args.row_stride, args.column_stride);
  return launch_error();
}

}  // namespace

const char* extract_patches(const ExtractPatchesArgs& args, void* stream) {
  if (args.batch == 0 || args.rows == 0 || args.columns == 0 || args.channels == 0) return nullptr;
  const int64_t bytes = element_size(args.dtype);
  const bool vectorised = args.channels * args.size * args.size * bytes % 16 == 0 && aligned_16(args.patches);
  if (bytes == 4) {
    return vectorised ? launch_extract<uint32_t, 4>(args, stream) : launch_extract<uint32_t, 1>(args, stream);
  }
  return vectorised ? launch_extract<uint16_t, 8>(args, stream) : launch_extract<uint16_t, 1>(args, stream);
}

const char* extract_patches_backward(const ExtractPatchesBackwardArgs& args, void* stream) {
  const int64_t elements = args.batch * args.channels * args.height * args.width;
  if (elements == 0) return nullptr;
  if (args.channels * args.size * args.size > kMaxPatchElements) {
    return "extract_patches: a patch has too many elements";
  }
  return with_element_type(args.dtype, [&](auto type) {
    using T = typename decltype(type)::type;
    const int64_t tiles =
        args.batch * args.height * ((args.channels + kTile - 1) / kTile) * ((args.width + kTile - 1) / kTile);
    extract_backward_kernel<T><<<blocks_for(tiles, 1, kMaxBlocks), kThreads, 0, as_stream(stream)>>>(
        static_cast<const T*>(args.grad_patches), static_cast<T*>(args.grad_features), tiles,
        int(args.channels), int(args.height), int(args.width), args.size, args.stride, int(args.rows),
        int(args.columns));
    return launch_error();
  });
}

}  // namespace neuralpatch::cuda
