#include <optional>

#include "bindings/common.h"

namespace neuralpatch::bindings {
namespace {

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor features, target, weight, loss;
  TextureLossArgs args;
};

Problem prepare(const Tensor& features, const Tensor& target, const Tensor& weight,
                std::optional<Tensor> gradient) {
  check_dim("features", features, 3);
  check_same_shape("target", target, "features", features);
  check_like("target", target, features, features.scalar_type());
  check_dim("weight", weight, 2);
  check_like("weight", weight, features, ScalarType::Float);
  check(weight.size(0) == features.size(1) && weight.size(1) == features.size(2), "weight must be [",
        features.size(1), ", ", features.size(2), "], not [", weight.size(0), ", ", weight.size(1), "]");
  Problem problem{pixel_major(features),
                  pixel_major(target),
                  torch::stable::contiguous(weight),
                  empty({}, ScalarType::Float, features),
                  {}};
  TextureLossArgs& args = problem.args;
  if (gradient) {
    check_same_shape("gradient", *gradient, "features", features);
    check_like("gradient", *gradient, features, features.scalar_type());
    check_channels_last("gradient", *gradient);
    advise_huge_pages(*gradient);
    args.gradient = gradient->mutable_data_ptr();
  }
  args.features = problem.features.const_data_ptr();
  args.target = problem.target.const_data_ptr();
  args.weight = problem.weight.const_data_ptr<float>();
  args.dtype = dtype_of("features", features);
  args.channels = features.size(0);
  args.pixels = features.size(1) * features.size(2);
  args.loss = problem.loss.mutable_data_ptr<float>();
  return problem;
}

Tensor run_cpu(const Tensor& features, const Tensor& target, const Tensor& weight,
               std::optional<Tensor> gradient) {
  Problem problem = prepare(features, target, weight, gradient);
  const Tensor workspace = empty({cpu::texture_loss_workspace(problem.args)}, ScalarType::Double, features);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  cpu::texture_loss(problem.args, parallel_for);
  return problem.loss;
}

Tensor texture_loss_cpu(const Tensor& features, const Tensor& target, const Tensor& weight) {
  return run_cpu(features, target, weight, std::nullopt);
}

Tensor texture_loss_and_gradient_cpu(const Tensor& features, const Tensor& target, const Tensor& weight,
                                     const Tensor& gradient) {
  return run_cpu(features, target, weight, gradient);
}

#if defined(NEURALPATCH_WITH_CUDA)
Tensor run_cuda(const Tensor& features, const Tensor& target, const Tensor& weight,
                std::optional<Tensor> gradient) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Problem problem = prepare(features, target, weight, gradient);
  const Tensor workspace = empty({cuda::texture_loss_workspace(problem.args)}, ScalarType::Double, features);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  check_launch("texture_loss", cuda::texture_loss(problem.args, current_stream(features.get_device_index())));
  return problem.loss;
}

Tensor texture_loss_cuda(const Tensor& features, const Tensor& target, const Tensor& weight) {
  return run_cuda(features, target, weight, std::nullopt);
}

Tensor texture_loss_and_gradient_cuda(const Tensor& features, const Tensor& target, const Tensor& weight,
                                      const Tensor& gradient) {
  return run_cuda(features, target, weight, gradient);
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def("texture_loss(Tensor features, Tensor target, Tensor weight) -> Tensor");
  m.def(
      "texture_loss_and_gradient(Tensor features, Tensor target, Tensor weight, Tensor(a!) gradient) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) {
  m.impl("texture_loss", TORCH_BOX(&texture_loss_cpu));
  m.impl("texture_loss_and_gradient", TORCH_BOX(&texture_loss_and_gradient_cpu));
}

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) {
  m.impl("texture_loss", TORCH_BOX(&texture_loss_cuda));
  m.impl("texture_loss_and_gradient", TORCH_BOX(&texture_loss_and_gradient_cuda));
}
#endif

}  // namespace neuralpatch::bindings
