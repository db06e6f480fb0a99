#include "bindings/common.h"

#include <string>

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
  return torch::stable::new_empty(device_of, shape, dtype);
}

void parallel_for(int64_t begin, int64_t end, int64_t grain, const RangeBody& body) {
  torch::stable::parallel_for(begin, end, grain, body);
}

#if defined(NEURALPATCH_WITH_CUDA)
void* current_stream(int32_t device) {
  if (aoti_torch_get_current_cuda_stream == nullptr)
    throw std::runtime_error("this PyTorch has no CUDA support");
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
  return stream;
}

void check_launch(const char* name, const char* error) {
  if (error != nullptr) throw std::runtime_error(std::string(name) + ": " + error);
}
#endif

}  // namespace neuralpatch::bindings
