#include <tuple>

#include "bindings/common.h"

namespace neuralpatch::bindings {
namespace {

using LossAndGradient = std::tuple<Tensor, Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor features, target, count, loss, gradient;
  TextureLossArgs args;
  LossAndGradient result() const { return {loss, channels_first(gradient)}; }
};

Problem prepare(const Tensor& features, const Tensor& target, const Tensor& count) {
  check_dim("features", features, 3);
  check_same_shape("target", target, "features", features);
  check_like("target", target, features, features.scalar_type());
  check_dim("count", count, 2);
  check_like("count", count, features, ScalarType::Float);
  check(count.size(0) == features.size(1) && count.size(1) == features.size(2), "count must be [",
        features.size(1), ", ", features.size(2), "], not [", count.size(0), ", ", count.size(1), "]");
  const Tensor pixels = pixel_major(features);
  Problem problem{
      pixels,
      pixel_major(target),
      torch::stable::contiguous(count),
      empty({}, ScalarType::Float, features),
      empty({features.size(1), features.size(2), features.size(0)}, features.scalar_type(), features),
      {}};
  TextureLossArgs& args = problem.args;
  args.features = problem.features.const_data_ptr();
  args.target = problem.target.const_data_ptr();
  args.count = problem.count.const_data_ptr<float>();
  args.dtype = dtype_of("features", features);
  args.channels = features.size(0);
  args.pixels = features.size(1) * features.size(2);
  args.loss = problem.loss.mutable_data_ptr<float>();
  args.gradient = problem.gradient.mutable_data_ptr();
  return problem;
}

LossAndGradient texture_loss_cpu(const Tensor& features, const Tensor& target, const Tensor& count) {
  Problem problem = prepare(features, target, count);
  const Tensor workspace = empty({cpu::texture_loss_workspace(problem.args)}, ScalarType::Double, features);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  cpu::texture_loss(problem.args, parallel_for);
  return problem.result();
}

#if defined(NEURALPATCH_WITH_CUDA)
LossAndGradient texture_loss_cuda(const Tensor& features, const Tensor& target, const Tensor& count) {
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Problem problem = prepare(features, target, count);
  const Tensor workspace = empty({cuda::texture_loss_workspace(problem.args)}, ScalarType::Double, features);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  check_launch("texture_loss", cuda::texture_loss(problem.args, current_stream(features.get_device_index())));
  return problem.result();
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def("texture_loss(Tensor features, Tensor target, Tensor count) -> (Tensor loss, Tensor gradient)");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("texture_loss", TORCH_BOX(&texture_loss_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) { m.impl("texture_loss", TORCH_BOX(&texture_loss_cuda)); }
#endif

}  // namespace neuralpatch::bindings
