#include <tuple>

#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

using Votes = std::tuple<Tensor, Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor key, position, index, source, target, count;
  VotePatchesArgs args;
  Votes votes() const { return {channels_first(target), count}; }
};

Problem prepare(const Tensor& key, const Tensor& position, const Tensor& index, int64_t size, int64_t height,
                int64_t width) {
  check_dim("key", key, 3);
  check_dim("position", position, 1);
  check_same_shape("index", index, "position", position);
  check_like("position", position, key, ScalarType::Long);
  check_like("index", index, key, ScalarType::Long);
  check(size >= 1, "size must be at least 1, not ", size);
  const int64_t rows = positions_along(height, size), columns = positions_along(width, size);
  check(rows > 0 && columns > 0, "patches of size ", size, " do not fit into a target of ", height, " x ",
        width, " pixels");
  check(positions_along(key.size(1), size) > 0 && positions_along(key.size(2), size) > 0, "patches of size ",
        size, " do not fit into key of ", key.size(1), " x ", key.size(2), " pixels");
  Problem problem{pixel_major(key),
                  torch::stable::contiguous(position),
                  torch::stable::contiguous(index),
                  empty({rows * columns}, ScalarType::Long, key),
                  empty({height, width, key.size(0)}, key.scalar_type(), key),
                  empty({height, width}, ScalarType::Float, key),
                  {}};
  VotePatchesArgs& args = problem.args;
  args.key = problem.key.const_data_ptr();
  args.dtype = dtype_of("key", key);
  args.channels = key.size(0);
  args.key_height = key.size(1);
  args.key_width = key.size(2);
  args.position = problem.position.const_data_ptr<int64_t>();
  args.index = problem.index.const_data_ptr<int64_t>();
  args.matches = position.numel();
  args.size = static_cast<int>(size);
  args.height = height;
  args.width = width;
  args.target = problem.target.mutable_data_ptr();
  args.count = problem.count.mutable_data_ptr<float>();
  args.source = problem.source.mutable_data_ptr<int64_t>();
  return problem;
}

void check_range(const char* name, const int64_t* values, int64_t count, int64_t end) {
  for (int64_t i = 0; i < count; ++i) {
    check(values[i] >= 0 && values[i] < end, name, "[", i, "] is ", values[i], ", but must be in [0, ", end,
          ")");
  }
}

Votes vote_patches_cpu(const Tensor& key, const Tensor& position, const Tensor& index, int64_t size,
                       int64_t height, int64_t width) {
  Problem problem = prepare(key, position, index, size, height, width);
  const VotePatchesArgs& args = problem.args;
  check_range("position", args.position, args.matches, problem.source.numel());
  check_range("index", args.index, args.matches,
              positions_along(args.key_height, size) * positions_along(args.key_width, size));
  cpu::vote_patches(args, parallel_for);
  return problem.votes();
}

#if defined(NEURALPATCH_WITH_CUDA)
Votes vote_patches_cuda(const Tensor& key, const Tensor& position, const Tensor& index, int64_t size,
                        int64_t height, int64_t width) {
  const torch::stable::accelerator::DeviceGuard guard(key.get_device_index());
  Problem problem = prepare(key, position, index, size, height, width);
  check_launch("vote_patches", cuda::vote_patches(problem.args, current_stream(key.get_device_index())));
  return problem.votes();
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def(
      "vote_patches(Tensor key, Tensor position, Tensor index, int size, SymInt height, SymInt width) -> "
      "(Tensor target, Tensor count)");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("vote_patches", TORCH_BOX(&vote_patches_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) { m.impl("vote_patches", TORCH_BOX(&vote_patches_cuda)); }
#endif

}  // namespace neuralpatch::bindings
