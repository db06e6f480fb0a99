// What the operators' bindings share: argument checks, layouts, and the stream to launch on.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "neuralpatch/operators.h"

namespace neuralpatch::bindings {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Throws std::invalid_argument, which reaches Python as a ValueError.
template <typename... Parts>
void check(bool condition, const Parts&... message) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << message);
  throw std::invalid_argument(text.str());
}

// The format of a floating-point argument.
DType dtype_of(const char* name, const Tensor& tensor);

void check_dim(const char* name, const Tensor& tensor, int64_t dim);
void check_same_shape(const char* name, const Tensor& tensor, const char* other_name, const Tensor& other);
// Same device and, unless `dtype` is Undefined, that dtype.
void check_like(const char* name, const Tensor& tensor, const Tensor& reference, ScalarType dtype);

// [C, H, W] with any strides -> [H, W, C] contiguous; no copy of a channels-last tensor.
Tensor pixel_major(const Tensor& features);
// [H, W, C] -> a [C, H, W] view.
Tensor channels_first(const Tensor& pixels);

Tensor empty(const std::vector<int64_t>& shape, ScalarType dtype, const Tensor& device_of);

// Asks for huge pages behind a large output on the CPU that may be fresh memory: the page faults of the first
// write, one for every 4 KB, would cost more than the operator itself.
void advise_huge_pages(Tensor& output);

// Checks that `output` can be written in place as pixel-major memory: [C, H, W] with the strides of
// channels_first(empty({H, W, C})).
void check_channels_last(const char* name, const Tensor& output);

// torch's thread pool.
void parallel_for(int64_t begin, int64_t end, int64_t grain, const RangeBody& body);

#if defined(NEURALPATCH_WITH_CUDA)
// PyTorch's current stream on a device.
void* current_stream(int32_t device);
// Throws std::runtime_error if a launcher reported an error.
void check_launch(const char* name, const char* error);
#endif

}  // namespace neuralpatch::bindings
