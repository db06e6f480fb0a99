#include <tuple>

#include "bindings/common.h"

namespace neuralpatch::bindings {
namespace {

using LossAndGradient = std::tuple<Tensor, Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor x, mask, loss, gradient;
  TotalVariationArgs args;
  LossAndGradient result() const { return {loss, gradient}; }
};

Problem prepare(const Tensor& x, const Tensor& mask) {
  check_dim("x", x, 3);
  check_dim("mask", mask, 2);
  check_like("mask", mask, x, ScalarType::Bool);
  check(mask.size(0) == x.size(1) && mask.size(1) == x.size(2), "mask must be [", x.size(1), ", ", x.size(2),
        "], not [", mask.size(0), ", ", mask.size(1), "]");
  Problem problem{torch::stable::contiguous(x),
                  torch::stable::contiguous(mask),
                  empty({}, ScalarType::Float, x),
                  empty({x.size(0), x.size(1), x.size(2)}, x.scalar_type(), x),
                  {}};
  TotalVariationArgs& args = problem.args;
  args.x = problem.x.const_data_ptr();
  args.mask = static_cast<const bool*>(problem.mask.const_data_ptr());
  args.dtype = dtype_of("x", x);
  args.channels = x.size(0);
  args.height = x.size(1);
  args.width = x.size(2);
  args.loss = problem.loss.mutable_data_ptr<float>();
  args.gradient = problem.gradient.mutable_data_ptr();
  return problem;
}

LossAndGradient total_variation_cpu(const Tensor& x, const Tensor& mask) {
  Problem problem = prepare(x, mask);
  const Tensor workspace = empty({cpu::total_variation_workspace(problem.args)}, ScalarType::Double, x);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  cpu::total_variation(problem.args, parallel_for);
  return problem.result();
}

#if defined(NEURALPATCH_WITH_CUDA)
LossAndGradient total_variation_cuda(const Tensor& x, const Tensor& mask) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  Problem problem = prepare(x, mask);
  const Tensor workspace = empty({cuda::total_variation_workspace(problem.args)}, ScalarType::Double, x);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  check_launch("total_variation", cuda::total_variation(problem.args, current_stream(x.get_device_index())));
  return problem.result();
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def("total_variation(Tensor x, Tensor mask) -> (Tensor loss, Tensor gradient)");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("total_variation", TORCH_BOX(&total_variation_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) {
  m.impl("total_variation", TORCH_BOX(&total_variation_cuda));
}
#endif

}  // namespace neuralpatch::bindings
