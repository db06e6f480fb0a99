// A running arg-max whose result does not depend on the order of the candidates.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace neuralpatch {

// The best candidate so far. Every candidate beats the initial value; ties go to the lowest index.
struct Best {
  float score;
  int64_t index;

  static NEURALPATCH_HOST_DEVICE Best none() { return {-3.402823466e+38f, INT64_MAX}; }
};

NEURALPATCH_HOST_DEVICE bool better(const Best& a, const Best& b) {
  return a.score > b.score || (a.score == b.score && a.index < b.index);
}

}  // namespace neuralpatch
