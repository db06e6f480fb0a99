// Tiles of D by float32 multiply-adds, for every device and input.
#pragma once

#include "cuda/match/sums.h"

namespace neuralpatch::cuda {

// float32 multiply-adds: a thread computes 4 x 4 correlations. The next chunk waits in registers.
template <typename T>
class FloatProduct {
 public:
  using Element = T;
  static constexpr int kLeastArch = 0;
  static constexpr int kKeyLanes = 64;
  static constexpr int kChunk = 16;
  static constexpr int kPerThread = 4;

  struct Shared {
    float query[2][kChunk][kQueryLanes + 4];
    float key[2][kChunk][kKeyLanes + 4];
  };

  __device__ FloatProduct(const Walk<T>& walk, const StepCursor& start, Shared& shared)
      : walk_(walk), load_(walk, start), shared_(shared) {
    fetch();
  }

  // Ends without a barrier after the writes to `tile`, and begins with one before them.
  template <int kSize>
  __device__ __forceinline__ void compute(CorrelationTile<kSize, kKeyLanes>& tile) {
    const int query = threadIdx.x / kGroup * kPerThread, key = threadIdx.x % kGroup * kPerThread;
    float sum[kPerThread][kPerThread] = {};
    int channel = 0;
    do {
      put();
      __syncthreads();
      fetch();
#pragma unroll
      for (int k = 0; k < kChunk; ++k) {
        const float4 a = *reinterpret_cast<const float4*>(&shared_.query[buffer_][k][query]);
        const float4 b = *reinterpret_cast<const float4*>(&shared_.key[buffer_][k][key]);
        const float rows[kPerThread] = {a.x, a.y, a.z, a.w}, columns[kPerThread] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int r = 0; r < kPerThread; ++r) {
#pragma unroll
          for (int c = 0; c < kPerThread; ++c) sum[r][c] += rows[r] * columns[c];
        }
      }
      buffer_ ^= 1;
      channel += kChunk;
    } while (channel < walk_.pair.elements);
#pragma unroll
    for (int r = 0; r < kPerThread; ++r) {
      *reinterpret_cast<float4*>(&tile.x[query + r][key]) =
          make_float4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    }
  }

 private:
  static constexpr int kGroup = kKeyLanes / kPerThread;
  static_assert(kQueryLanes == kKeyLanes && kQueryLanes * kChunk == kThreads * kPerThread,
                "one load a thread");

  // Reads this thread's share of the next chunk into registers.
  __device__ __forceinline__ void fetch() {
    if (load_.at.done()) return;
    const int lane = threadIdx.x / (kChunk / kPerThread);
    const int channel = load_.element + threadIdx.x % (kChunk / kPerThread) * kPerThread;
    read(load_.at.query_pixel(walk_, lane), channel, query_);
    read(load_.at.key_pixel(walk_, lane), channel, key_);
    load_.advance();
  }

  __device__ __forceinline__ void read(const T* pixel, int channel, float (&values)[kPerThread]) const {
    const int channels = walk_.pair.elements;
    if (pixel != nullptr && channel + kPerThread <= channels &&
        reinterpret_cast<uintptr_t>(pixel + channel) % sizeof(Pack<T, kPerThread>) == 0) {
      load_floats<kPerThread>(pixel + channel, values);
      return;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      values[i] = pixel != nullptr && channel + i < channels ? to_float(pixel[channel + i]) : 0.0f;
    }
  }

  __device__ __forceinline__ void put() {
    const int lane = threadIdx.x / (kChunk / kPerThread);
    const int channel = threadIdx.x % (kChunk / kPerThread) * kPerThread;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      shared_.query[buffer_][channel + i][lane] = query_[i];
      shared_.key[buffer_][channel + i][lane] = key_[i];
    }
  }

  const Walk<T>& walk_;
  LoadCursor<T, kChunk> load_;
  Shared& shared_;
  int buffer_ = 0;
  float query_[kPerThread], key_[kPerThread];
};

}  // namespace neuralpatch::cuda
