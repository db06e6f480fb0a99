#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/kernels.h"
#include "neuralpatch/operators.h"

namespace neuralpatch::cpu {
namespace {

// For one row of pixels: which of its pairs count, as masks of the size of an element, and where the row's
// first pair begins and its last one ends.
template <typename Mask>
class RowPairs {
 public:
  explicit RowPairs(int64_t width) : width_(width), masks_(3 * (width + 1)) {}

  void find(const bool* flags, int64_t y, int64_t height) {
    const auto* mask = reinterpret_cast<const uint8_t*>(flags) + y * width_;
    Mask *const right = masks_.data() + 1, *const up = right + width_ + 1, *const down = up + width_ + 1;
    // The row itself stands in for the ones that are not there.
    const uint8_t* above = y > 0 ? mask - width_ : mask;
    const uint8_t* below = y + 1 < height ? mask + width_ : mask;
    const Mask has_above = -Mask{y > 0}, has_below = -Mask{y + 1 < height};
    for (int64_t i = 0; i + 1 < width_; ++i) right[i] = static_cast<Mask>(-(mask[i] | mask[i + 1]));
    for (int64_t i = 0; i < width_; ++i) up[i] = static_cast<Mask>(-(mask[i] | above[i])) & has_above;
    for (int64_t i = 0; i < width_; ++i) down[i] = static_cast<Mask>(-(mask[i] | below[i])) & has_below;
    const auto counts = [&](int64_t i) { return right[i - 1] | right[i] | up[i] | down[i]; };
    first_ = 0;
    last_ = width_;
    while (first_ < last_ && !counts(first_)) ++first_;
    while (first_ < last_ && !counts(last_ - 1)) --last_;
  }

  int64_t first() const { return first_; }
  int64_t last() const { return last_; }
  const Mask* right() const { return masks_.data() + 1; }
  const Mask* up() const { return right() + width_ + 1; }
  const Mask* down() const { return up() + width_ + 1; }

 private:
  int64_t width_, first_ = 0, last_ = 0;
  std::vector<Mask> masks_;  // each with one value before it, which is 0
};

template <typename Mask>
void run(const TotalVariationArgs& args, const ParallelFor& parallel_for) {
  const int64_t height = args.height, width = args.width, element = sizeof(Mask);
  parallel_for(0, height, 1, [&](int64_t begin, int64_t end) {
    RowPairs<Mask> pairs(width);
    for (int64_t y = begin; y < end; ++y) {
      pairs.find(args.mask, y, height);
      const int64_t first = pairs.first(), count = pairs.last() - first;
      double sum = 0;
      for (int64_t c = 0; c < args.channels; ++c) {
        const int64_t offset = (c * height + y) * width * element;
        const char* const x = static_cast<const char*>(args.x) + offset + first * element;
        char* const gradient =
            args.gradient == nullptr ? nullptr : static_cast<char*>(args.gradient) + offset;
        sum += kernels().variation_row(x, y > 0 ? x - width * element : x,
                                       y + 1 < height ? x + width * element : x, pairs.right() + first,
                                       pairs.up() + first, pairs.down() + first, args.dtype, count,
                                       gradient == nullptr ? nullptr : gradient + first * element);
        if (gradient == nullptr) continue;
        std::memset(gradient, 0, first * element);
        std::memset(gradient + pairs.last() * element, 0, (width - pairs.last()) * element);
      }
      args.workspace[y] = sum;
    }
  });
}

}  // namespace

int64_t total_variation_workspace(const TotalVariationArgs& args) { return args.height; }

void total_variation(const TotalVariationArgs& args, const ParallelFor& parallel_for) {
  const auto body = args.dtype == DType::kFloat32 ? run<int32_t> : run<int16_t>;
  body(args, parallel_for);
  double loss = 0;
  for (int64_t y = 0; y < args.height; ++y) loss += args.workspace[y];
  *args.loss = static_cast<float>(loss);
}

}  // namespace neuralpatch::cpu
