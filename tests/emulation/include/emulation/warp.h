// Warp shuffles and votes.
#pragma once

#include "emulation/block.h"

namespace emu {

// The value that lane `source` of the warp passes; the lane's own where that lane is absent.
template <typename T>
T shuffle(unsigned lanes, T value, int source) {
  struct Payload {
    T in, out;
    int source;
  } payload{value, value, source};
  warp_collective(lanes, &payload, [](void** payloads, unsigned present) {
    for (int l = 0; l < kWarpSize; ++l) {
      if (!(present >> l & 1)) continue;
      auto* mine = static_cast<Payload*>(payloads[l]);
      if (present >> mine->source & 1) mine->out = static_cast<Payload*>(payloads[mine->source])->in;
    }
  });
  return payload.out;
}

inline unsigned ballot(unsigned lanes, bool vote) {
  struct Payload {
    bool in;
    unsigned out;
  } payload{vote, 0};
  warp_collective(lanes, &payload, [](void** payloads, unsigned present) {
    unsigned votes = 0;
    for (int l = 0; l < kWarpSize; ++l) {
      if (present >> l & 1) votes |= unsigned(static_cast<Payload*>(payloads[l])->in) << l;
    }
    for (int l = 0; l < kWarpSize; ++l) {
      if (present >> l & 1) static_cast<Payload*>(payloads[l])->out = votes;
    }
  });
  return payload.out;
}

}  // namespace emu

inline void __syncwarp(unsigned lanes = ~0u) { (void)emu::ballot(lanes, false); }
inline unsigned __ballot_sync(unsigned lanes, int vote) { return emu::ballot(lanes, vote); }
inline int __any_sync(unsigned lanes, int vote) { return emu::ballot(lanes, vote) != 0; }

// Shuffles within groups of `width` lanes; a source outside the group leaves the lane's own value.
template <typename T>
T __shfl_sync(unsigned lanes, T value, int source, int width = emu::kWarpSize) {
  const int group = emu::lane() / width * width;
  return emu::shuffle(lanes, value, group + source % width);
}
template <typename T>
T __shfl_xor_sync(unsigned lanes, T value, int bits, int width = emu::kWarpSize) {
  const int lane = emu::lane(), source = lane ^ bits;
  return emu::shuffle(lanes, value, source < lane / width * width + width ? source : lane);
}
template <typename T>
T __shfl_down_sync(unsigned lanes, T value, unsigned delta, int width = emu::kWarpSize) {
  const int lane = emu::lane();
  return emu::shuffle(lanes, value, lane % width + int(delta) < width ? lane + int(delta) : lane);
}
