#include <optional>

#include "bindings/common.h"

namespace neuralpatch::bindings {
namespace {

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor x, mask, loss;
  TotalVariationArgs args;
};

Problem prepare(const Tensor& x, const Tensor& mask, std::optional<Tensor> gradient) {
  check_dim("x", x, 3);
  check_dim("mask", mask, 2);
  check_like("mask", mask, x, ScalarType::Bool);
  check(mask.size(0) == x.size(1) && mask.size(1) == x.size(2), "mask must be [", x.size(1), ", ", x.size(2),
        "], not [", mask.size(0), ", ", mask.size(1), "]");
  Problem problem{
      torch::stable::contiguous(x), torch::stable::contiguous(mask), empty({}, ScalarType::Float, x), {}};
  TotalVariationArgs& args = problem.args;
  if (gradient) {
    check_same_shape("gradient", *gradient, "x", x);
    check_like("gradient", *gradient, x, x.scalar_type());
    check(gradient->is_contiguous(), "gradient must be contiguous");
    advise_huge_pages(*gradient);
    args.gradient = gradient->mutable_data_ptr();
  }
  args.x = problem.x.const_data_ptr();
  args.mask = static_cast<const bool*>(problem.mask.const_data_ptr());
  args.dtype = dtype_of("x", x);
  args.channels = x.size(0);
  args.height = x.size(1);
  args.width = x.size(2);
  args.loss = problem.loss.mutable_data_ptr<float>();
  return problem;
}

Tensor run_cpu(const Tensor& x, const Tensor& mask, std::optional<Tensor> gradient) {
  Problem problem = prepare(x, mask, gradient);
  const Tensor workspace = empty({cpu::total_variation_workspace(problem.args)}, ScalarType::Double, x);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  cpu::total_variation(problem.args, parallel_for);
  return problem.loss;
}

Tensor total_variation_cpu(const Tensor& x, const Tensor& mask) { return run_cpu(x, mask, std::nullopt); }

Tensor total_variation_and_gradient_cpu(const Tensor& x, const Tensor& mask, const Tensor& gradient) {
  return run_cpu(x, mask, gradient);
}

#if defined(NEURALPATCH_WITH_CUDA)
Tensor run_cuda(const Tensor& x, const Tensor& mask, std::optional<Tensor> gradient) {
  const torch::stable::accelerator::DeviceGuard guard(x.get_device_index());
  Problem problem = prepare(x, mask, gradient);
  const Tensor workspace = empty({cuda::total_variation_workspace(problem.args)}, ScalarType::Double, x);
  problem.args.workspace = workspace.mutable_data_ptr<double>();
  check_launch("total_variation", cuda::total_variation(problem.args, current_stream(x.get_device_index())));
  return problem.loss;
}

Tensor total_variation_cuda(const Tensor& x, const Tensor& mask) { return run_cuda(x, mask, std::nullopt); }

Tensor total_variation_and_gradient_cuda(const Tensor& x, const Tensor& mask, const Tensor& gradient) {
  return run_cuda(x, mask, gradient);
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def("total_variation(Tensor x, Tensor mask) -> Tensor");
  m.def("total_variation_and_gradient(Tensor x, Tensor mask, Tensor(a!) gradient) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) {
  m.impl("total_variation", TORCH_BOX(&total_variation_cpu));
  m.impl("total_variation_and_gradient", TORCH_BOX(&total_variation_and_gradient_cpu));
}

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) {
  m.impl("total_variation", TORCH_BOX(&total_variation_cuda));
  m.impl("total_variation_and_gradient", TORCH_BOX(&total_variation_and_gradient_cuda));
}
#endif

}  // namespace neuralpatch::bindings
