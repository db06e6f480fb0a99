#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

ExtractPatchesArgs prepare(const Tensor& features, int64_t size, int64_t stride) {
  check_dim("features", features, 4);
  check(size >= 1, "size must be at least 1, not ", size);
  check(stride >= 1, "stride must be at least 1, not ", stride);
  ExtractPatchesArgs args{};
  args.dtype = dtype_of("features", features);
  args.batch = features.size(0);
  args.channels = features.size(1);
  args.height = features.size(2);
  args.width = features.size(3);
  args.batch_stride = features.stride(0);
  args.channel_stride = features.stride(1);
  args.row_stride = features.stride(2);
  args.column_stride = features.stride(3);
  args.size = static_cast<int>(size);
  args.stride = static_cast<int>(stride);
  args.rows = positions_along(args.height, size, stride);
  args.columns = positions_along(args.width, size, stride);
  check(args.rows > 0 && args.columns > 0, "patches of size ", size, " do not fit into features of ",
        args.height, " x ", args.width, " pixels");
  args.features = features.const_data_ptr();
  return args;
}

Tensor allocate(ExtractPatchesArgs& args, const Tensor& features) {
  Tensor patches = empty({args.batch, args.rows * args.columns, args.channels * args.size * args.size},
                         features.scalar_type(), features);
  args.patches = patches.mutable_data_ptr();
  return patches;
}

Tensor extract_patches_cpu(const Tensor& features, int64_t size, int64_t stride) {
  ExtractPatchesArgs args = prepare(features, size, stride);
  Tensor patches = allocate(args, features);
  if (patches.numel() > 0) cpu::extract_patches(args, parallel_for);
  return patches;
}

ExtractPatchesBackwardArgs prepare_backward(const Tensor& patches, int64_t channels, int64_t height,
                                            int64_t width, int64_t size, int64_t stride) {
  check_dim("grad_patches", patches, 3);
  check(size >= 1 && stride >= 1, "size and stride must be at least 1");
  ExtractPatchesBackwardArgs args{};
  args.dtype = dtype_of("grad_patches", patches);
  args.batch = patches.size(0);
  args.channels = channels;
  args.height = height;
  args.width = width;
  args.size = static_cast<int>(size);
  args.stride = static_cast<int>(stride);
  args.rows = positions_along(height, size, stride);
  args.columns = positions_along(width, size, stride);
  check(patches.size(1) == args.rows * args.columns && patches.size(2) == channels * size * size,
        "grad_patches must be [batch, ", args.rows * args.columns, ", ", channels * size * size, "]");
  args.grad_patches = patches.const_data_ptr();
  return args;
}

Tensor allocate_backward(ExtractPatchesBackwardArgs& args, const Tensor& patches) {
  Tensor features =
      empty({args.batch, args.channels, args.height, args.width}, patches.scalar_type(), patches);
  args.grad_features = features.mutable_data_ptr();
  return features;
}

Tensor extract_patches_backward_cpu(const Tensor& grad_patches, int64_t channels, int64_t height,
                                    int64_t width, int64_t size, int64_t stride) {
  const Tensor patches = torch::stable::contiguous(grad_patches);
  ExtractPatchesBackwardArgs args = prepare_backward(patches, channels, height, width, size, stride);
  Tensor features = allocate_backward(args, patches);
  if (features.numel() > 0) cpu::extract_patches_backward(args, parallel_for);
  return features;
}

#if defined(NEURALPATCH_WITH_CUDA)
Tensor extract_patches_cuda(const Tensor& features, int64_t size, int64_t stride) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  ExtractPatchesArgs args = prepare(features, size, stride);
  Tensor patches = allocate(args, features);
  if (patches.numel() > 0) {
    check_launch("extract_patches", cuda::extract_patches(args, current_stream(features.get_device_index())));
  }
  return patches;
}

Tensor extract_patches_backward_cuda(const Tensor& grad_patches, int64_t channels, int64_t height,
                                     int64_t width, int64_t size, int64_t stride) {
  const torch::stable::accelerator::DeviceGuard guard(grad_patches.get_device_index());
  const Tensor patches = torch::stable::contiguous(grad_patches);
  ExtractPatchesBackwardArgs args = prepare_backward(patches, channels, height, width, size, stride);
  Tensor features = allocate_backward(args, patches);
  if (features.numel() > 0) {
    check_launch("extract_patches_backward",
                 cuda::extract_patches_backward(args, current_stream(patches.get_device_index())));
  }
  return features;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def("extract_patches(Tensor features, int size, int stride) -> Tensor");
  m.def(
      "extract_patches_backward(Tensor grad_patches, SymInt channels, SymInt height, SymInt width, int size, "
      "int stride) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) {
  m.impl("extract_patches", TORCH_BOX(&extract_patches_cpu));
  m.impl("extract_patches_backward", TORCH_BOX(&extract_patches_backward_cpu));
}

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) {
  m.impl("extract_patches", TORCH_BOX(&extract_patches_cuda));
  m.impl("extract_patches_backward", TORCH_BOX(&extract_patches_backward_cuda));
}
#endif

}  // namespace neuralpatch::bindings
