#include "bindings/common.h"

#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(NEURALPATCH_WITH_CUDA)
// Lives in libtorch_cuda; null where PyTorch has no CUDA support.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t device,
                                                                                   void** stream);
#endif

namespace neuralpatch::bindings {

DType dtype_of(const char* name, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return DType::kFloat32;
    case ScalarType::BFloat16:
      return DType::kBFloat16;
    case ScalarType::Half:
      return DType::kFloat16;
    default:
      throw std::invalid_argument(std::string(name) + " must be float32, bfloat16 or float16");
  }
}

void check_dim(const char* name, const Tensor& tensor, int64_t dim) {
  check(tensor.dim() == dim, name, " must have ", dim, " dimensions, not ", tensor.dim());
}

void check_same_shape(const char* name, const Tensor& tensor, const char* other_name, const Tensor& other) {
  bool same = tensor.dim() == other.dim();
  for (int64_t i = 0; same && i < tensor.dim(); ++i) same = tensor.size(i) == other.size(i);
  check(same, name, " must have the shape of ", other_name);
}

void check_like(const char* name, const Tensor& tensor, const Tensor& reference, ScalarType dtype) {
  check(tensor.is_cuda() == reference.is_cuda() && tensor.get_device_index() == reference.get_device_index(),
        name, " must be on the same device as the features");
  if (dtype != ScalarType::Undefined) check(tensor.scalar_type() == dtype, name, " has the wrong dtype");
}

Tensor pixel_major(const Tensor& features) {
  return torch::stable::contiguous(torch::stable::transpose(torch::stable::transpose(features, 0, 1), 1, 2));
}

Tensor channels_first(const Tensor& pixels) {
  return torch::stable::transpose(torch::stable::transpose(pixels, 1, 2), 0, 1);
}

Tensor empty(const std::vector<int64_t>& shape, ScalarType dtype, const Tensor& device_of) {
  Tensor tensor = torch::stable::new_empty(device_of, shape, dtype);
  advise_huge_pages(tensor);
  return tensor;
}

void advise_huge_pages(Tensor& output) {
#if defined(__linux__)
  constexpr int64_t kWorthwhile = int64_t{4} << 20;
  const int64_t bytes = output.numel() * output.element_size();
  if (output.is_cuda() || bytes < kWorthwhile) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(output.mutable_data_ptr());
  const uintptr_t first = (start + page - 1) / page * page, last = (start + bytes) / page * page;
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // refused: no harm done
#endif
}

void check_channels_last(const char* name, const Tensor& output) {
  const int64_t channels = output.size(0), height = output.size(1), width = output.size(2);
  const bool dense = (channels == 1 || output.stride(0) == 1) &&
                     (width == 1 || output.stride(2) == channels) &&
                     (height == 1 || output.stride(1) == width * channels);
  check(dense || output.numel() == 0, name, " must be in channels-last memory without gaps");
}

void parallel_for(int64_t begin, int64_t end, int64_t grain, const RangeBody& body) {
  torch::stable::parallel_for(begin, end, grain, body);
}

#if defined(NEURALPATCH_WITH_CUDA)
void* current_stream(int32_t device) {
  if (aoti_torch_get_current_cuda_stream == nullptr)
    throw std::runtime_error("this PyTorch has no CUDA support");
  void* stream = nullptr;
  // The macro that checks such codes has another name in each PyTorch.
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream(device, &stream) == AOTI_TORCH_SUCCESS,
                  "no current stream of CUDA device ", device);
  return stream;
}

void check_launch(const char* name, const char* error) {
  if (error != nullptr) throw std::runtime_error(std::string(name) + ": " + error);
}
#endif

}  // namespace neuralpatch::bindings
