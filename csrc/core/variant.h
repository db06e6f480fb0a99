// An operator's variants: several ways to compute the same thing. One table says, in order of preference,
// which there are and what keeps each from running.
#pragma once

#include <string>

#include "neuralpatch/operators.h"

namespace neuralpatch {

template <typename Problem>
struct Variant {
  const char* name;
  // Why it cannot solve this problem here, as in "it takes float32 features"; empty if it can.
  std::string (*obstacle)(const Problem& problem);
};

// The variant called `wanted`, or, for "auto", the first that can run.
template <typename Problem, int kCount>
VariantChoice choose_variant(const Variant<Problem> (&variants)[kCount], const Problem& problem,
                             const std::string& wanted) {
  std::string obstacles, names = "'auto'";
  for (int i = 0; i < kCount; ++i) {
    const std::string name = variants[i].name;
    names += (i + 1 < kCount ? ", '" : " or '") + name + "'";
    if (wanted != "auto" && wanted != name) continue;
    const std::string obstacle = variants[i].obstacle(problem);
    if (wanted == name) {
      if (obstacle.empty()) return {i, name + ": asked for"};
      return {-1, "variant '" + name + "' cannot run: " + obstacle};
    }
    if (obstacle.empty()) return {i, name + ": " + (i == 0 ? "preferred" : obstacles)};
    obstacles += (i == 0 ? "not " : "; not ") + name + ", as " + obstacle;
  }
  if (wanted == "auto") return {-1, "no variant can run: " + obstacles};
  return {-1, "variant must be " + names + " on this device, not '" + wanted + "'"};
}

}  // namespace neuralpatch
