// cp.async: a copy is done as late as the program allows, and its destination is invalid until then.
#pragma once

#include "emulation/block.h"

namespace emu {

// Copies source_bytes and fills the rest of `bytes` with zeros, once the copy's group is waited for.
inline void async_copy(void* destination, const void* source, size_t bytes, size_t source_bytes) {
  const auto address = reinterpret_cast<uintptr_t>(destination) | reinterpret_cast<uintptr_t>(source);
  if (address % bytes) fail("cp.async: an address is not a multiple of the size of the copy");
  memset(destination, settings.fresh_byte, bytes);
  self->open_copies.push_back({destination, source, bytes, source_bytes});
}

inline void commit_copies() {
  self->copy_groups.push_back(std::move(self->open_copies));
  self->open_copies.clear();
}

// Completes all but the `pending` newest groups of the calling thread.
inline void wait_copies(size_t pending) {
  auto& groups = self->copy_groups;
  while (groups.size() > pending) {
    for (const PendingCopy& copy : groups.front()) {
      memcpy(copy.destination, copy.source, copy.source_bytes);
      memset(static_cast<char*>(copy.destination) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace emu
