// The scheduler: runs the threads of one block at a time, as fibers, between barriers and warp collectives.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "emulation/fiber.h"

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719
};

namespace emu {

constexpr int kWarpSize = 32;
constexpr size_t kMaxSharedBytes = 227 << 10;

// Computes a warp collective for the lanes in `lanes`; payload[l] is what lane l passed.
using Collective = void (*)(void** payload, unsigned lanes);

enum class State : uint8_t { kReady, kAtBarrier, kAtCollective, kDone };

// A copy that cp.async has started; it takes place when its group is waited for.
struct PendingCopy {
  void* destination;
  const void* source;
  size_t bytes, source_bytes;
};

struct Thread {
  Fiber fiber;
  uint3 index{};
  int linear = 0;
  State state = State::kDone;
  const char* file = nullptr;  // where the barrier is that the thread waits at
  int line = 0;
  unsigned lanes = 0;  // of the collective that the thread waits at
  void* payload = nullptr;
  Collective collective = nullptr;
  std::vector<PendingCopy> open_copies;               // not yet committed
  std::vector<std::vector<PendingCopy>> copy_groups;  // committed, oldest first
};

struct FreeDeleter {
  void operator()(void* p) const { free(p); }
};
using SharedBuffer = std::unique_ptr<void, FreeDeleter>;

struct Settings {
  int thread_order = 0;  // 0: forward; negative: reverse; positive: shuffled with this seed
  int compute_capability = 90;
  int fresh_byte = 0xff;  // what fresh memory is filled with: NaN bits, unless told otherwise
};
inline Settings settings;

// Heap memory, so that the address sanitizer sees its bounds, filled with NaN bits, so that unset values
// show.
inline SharedBuffer allocate_shared(size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, 128, bytes ? bytes : 1)) abort();
  memset(p, settings.fresh_byte, bytes);
  return SharedBuffer(p);
}

struct Block {
  std::vector<std::unique_ptr<Thread>> threads;
  Fiber scheduler;
  uint3 index{};
  dim3 size, grid;
  int live = 0, waiting = 0;  // threads not yet done; threads at the barrier
  int votes = 0, vote_result = 0;
  SharedBuffer dynamic_shared;
  std::vector<std::pair<const void*, SharedBuffer>> static_shared;
  const std::function<void()>* body = nullptr;
  std::string error;
};

inline Block& block() {
  static Block instance;
  return instance;
}
inline Thread* self = nullptr;
inline cudaError_t last_error = cudaSuccess;
inline std::string last_error_text;

inline int lane() { return self->linear % kWarpSize; }
inline void yield() { Fiber::switch_from_to(self->fiber, block().scheduler); }

// Abandons the block; launch() reports the first error.
[[noreturn]] inline void fail(std::string message) {
  if (block().error.empty()) block().error = std::move(message);
  for (;;) yield();
}

inline void release_barrier() {
  const Thread* first = nullptr;
  for (auto& thread : block().threads) {
    if (thread->state != State::kAtBarrier) continue;
    if (!first) {
      first = thread.get();
    } else if (first->line != thread->line || strcmp(first->file, thread->file)) {
      block().error = std::string("divergent __syncthreads: ") + first->file + ":" +
                      std::to_string(first->line) + " and " + thread->file + ":" +
                      std::to_string(thread->line);
    }
    thread->state = State::kReady;
  }
  block().vote_result = block().votes;
  block().votes = block().waiting = 0;
}

// __syncthreads; returns the number of threads whose vote is true.
inline int barrier(const char* file, int line, bool vote = false) {
  self->file = file;
  self->line = line;
  self->state = State::kAtBarrier;
  block().votes += vote;
  if (++block().waiting == block().live) release_barrier();
  if (self->state != State::kReady) yield();
  if (!block().error.empty()) fail(block().error);
  return block().vote_result;
}

// Runs the collective that `member` waits at, if every live lane of its mask has arrived.
inline bool try_collective(const Thread& member) {
  const int base = member.linear / kWarpSize * kWarpSize;
  const int count = std::min<int>(kWarpSize, int(block().threads.size()) - base);
  unsigned present = 0;
  void* payload[kWarpSize] = {};
  for (int l = 0; l < count; ++l) {
    const Thread& thread = *block().threads[base + l];
    if (!(member.lanes >> l & 1) || thread.state == State::kDone) continue;
    if (thread.state != State::kAtCollective || thread.lanes != member.lanes ||
        thread.collective != member.collective) {
      return false;
    }
    present |= 1u << l;
    payload[l] = thread.payload;
  }
  member.collective(payload, present);
  for (int l = 0; l < count; ++l) {
    if (present >> l & 1) block().threads[base + l]->state = State::kReady;
  }
  return true;
}

// Parks the calling lane until every live lane of `lanes` has called the same collective; the last one
// computes.
inline void warp_collective(unsigned lanes, void* payload, Collective collective) {
  if (!(lanes >> lane() & 1)) fail("warp collective: the calling lane is not in the mask");
  self->state = State::kAtCollective;
  self->lanes = lanes;
  self->payload = payload;
  self->collective = collective;
  if (!try_collective(*self)) yield();
}

inline void thread_main() {
  for (;;) {
    (*block().body)();
    self->state = State::kDone;
    --block().live;
    if (block().live && block().waiting == block().live) release_barrier();
    const int base = self->linear / kWarpSize * kWarpSize;
    for (int l = base; l < std::min<int>(base + kWarpSize, int(block().threads.size())); ++l) {
      const Thread& other = *block().threads[l];
      if (other.state == State::kAtCollective && (other.lanes >> lane() & 1)) {
        try_collective(other);  // lanes may have been waiting for this one only
        break;
      }
    }
    yield();
  }
}

inline void start_block(uint3 index, size_t shared_bytes) {
  Block& b = block();
  const size_t count = size_t(b.size.x) * b.size.y * b.size.z;
  if (b.threads.size() != count || !b.error.empty()) {
    b.threads.resize(count);
    for (auto& thread : b.threads) {
      if (!thread) thread = std::make_unique<Thread>();
      thread->fiber.prepare(&thread_main);
    }
  }
  b.error.clear();
  b.index = index;
  b.live = int(count);
  b.waiting = b.votes = 0;
  b.static_shared.clear();
  b.dynamic_shared = allocate_shared(shared_bytes);
  for (size_t i = 0; i < count; ++i) {
    Thread& thread = *b.threads[i];
    thread.linear = int(i);
    thread.index = {unsigned(i % b.size.x), unsigned(i / b.size.x % b.size.y),
                    unsigned(i / (size_t(b.size.x) * b.size.y))};
    thread.state = State::kReady;
    thread.open_copies.clear();
    thread.copy_groups.clear();
  }
}

// Runs one block to its end; false, with block().error set, if it cannot finish.
inline bool run_block(uint3 index, size_t shared_bytes) {
  start_block(index, shared_bytes);
  Block& b = block();
  std::vector<int> order(b.threads.size());
  std::iota(order.begin(), order.end(), 0);
  if (settings.thread_order < 0) std::reverse(order.begin(), order.end());
  std::mt19937 random(unsigned(settings.thread_order) * 7919u + index.x + index.y * 131u + index.z * 17u);
  while (b.live) {
    if (settings.thread_order > 0) std::shuffle(order.begin(), order.end(), random);
    bool moved = false;
    for (int i : order) {
      if (b.threads[i]->state != State::kReady) continue;
      moved = true;
      self = b.threads[i].get();
      Fiber::switch_from_to(b.scheduler, self->fiber);
      if (!b.error.empty()) return false;
    }
    if (!moved) {
      b.error = "deadlock: " + std::to_string(b.waiting) + " of " + std::to_string(b.live) +
                " live threads are at __syncthreads, the others at a warp collective";
      return false;
    }
  }
  return b.error.empty();
}

// kernel<<<grid, size, shared_bytes, stream>>>(...), with the call in `body`; errors as cudaGetLastError
// gives them.
inline void launch(dim3 grid, dim3 size, size_t shared_bytes, void* /*stream*/,
                   const std::function<void()>& body) {
  const size_t threads = size_t(size.x) * size.y * size.z;
  const size_t blocks = size_t(grid.x) * grid.y * grid.z;
  if (!threads || threads > 1024 || size.z > 64 || !blocks || grid.x > 2147483647u || grid.y > 65535 ||
      grid.z > 65535 || shared_bytes > kMaxSharedBytes) {
    last_error = cudaErrorInvalidConfiguration;
    return;
  }
  Block& b = block();
  b.size = size;
  b.grid = grid;
  b.body = &body;
  for (size_t i = 0; i < blocks; ++i) {
    const uint3 index{unsigned(i % grid.x), unsigned(i / grid.x % grid.y),
                      unsigned(i / (size_t(grid.x) * grid.y))};
    if (!run_block(index, shared_bytes)) {
      last_error = cudaErrorLaunchFailure;
      last_error_text = b.error;
      return;
    }
  }
}

template <typename T>
T* dynamic_shared() {
  return static_cast<T*>(block().dynamic_shared.get());
}

// A __shared__ variable of the running block; Declaration is a type unique to the declaration.
template <typename T, typename Declaration>
T& static_shared(Declaration) {
  static char key;
  for (auto& [owner, buffer] : block().static_shared) {
    if (owner == &key) return *static_cast<T*>(buffer.get());
  }
  block().static_shared.emplace_back(&key, allocate_shared(sizeof(T)));
  return *static_cast<T*>(block().static_shared.back().second.get());
}

}  // namespace emu
