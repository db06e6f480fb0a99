#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  std::vector<Tensor> keys;
  Tensor position, index, source;
  int64_t key_positions;
  VotePatchesArgs args;
};

Problem prepare(const std::vector<Tensor>& keys, const Tensor& position, const Tensor& index, int64_t size,
                Tensor target, Tensor count) {
  check(!keys.empty() && keys.size() <= VotePatchesArgs::kMaxKeys, "there must be 1 to ",
        VotePatchesArgs::kMaxKeys, " keys, not ", keys.size());
  const Tensor& key = keys.front();
  check_dim("position", position, 1);
  check_same_shape("index", index, "position", position);
  check_like("position", position, key, ScalarType::Long);
  check_like("index", index, key, ScalarType::Long);
  check(size >= 1, "size must be at least 1, not ", size);
  Problem problem{{}, torch::stable::contiguous(position), torch::stable::contiguous(index), {}, 0, {}};
  VotePatchesArgs& args = problem.args;
  for (const Tensor& map : keys) {
    check_dim("key", map, 3);
    check_like("key", map, key, key.scalar_type());
    check(map.size(0) == key.size(0), "keys must have equally many channels, not ", key.size(0), " and ",
          map.size(0));
    const int64_t rows = positions_along(map.size(1), size), columns = positions_along(map.size(2), size);
    check(rows > 0 && columns > 0, "patches of size ", size, " do not fit into key of ", map.size(1), " x ",
          map.size(2), " pixels");
    problem.keys.push_back(pixel_major(map));
    args.key[args.keys++] = {problem.keys.back().const_data_ptr(), map.size(1), map.size(2),
                             problem.key_positions};
    problem.key_positions += rows * columns;
  }
  check_dim("target", target, 3);
  check_dim("count", count, 2);
  const int64_t height = target.size(1), width = target.size(2);
  check(target.size(0) == key.size(0), "target must have ", key.size(0), " channels, not ", target.size(0));
  check(count.size(0) == height && count.size(1) == width, "count must be [", height, ", ", width, "], not [",
        count.size(0), ", ", count.size(1), "]");
  check_like("target", target, key, key.scalar_type());
  check_like("count", count, key, ScalarType::Float);
  check_channels_last("target", target);
  check(count.is_contiguous(), "count must be contiguous");
  const int64_t rows = positions_along(height, size), columns = positions_along(width, size);
  check(rows > 0 && columns > 0, "patches of size ", size, " do not fit into a target of ", height, " x ",
        width, " pixels");
  advise_huge_pages(target);
  problem.source = empty({rows * columns}, ScalarType::Long, key);
  args.dtype = dtype_of("key", key);
  args.channels = key.size(0);
  args.position = problem.position.const_data_ptr<int64_t>();
  args.index = problem.index.const_data_ptr<int64_t>();
  args.matches = position.numel();
  args.size = static_cast<int>(size);
  args.height = height;
  args.width = width;
  args.target = target.mutable_data_ptr();
  args.count = count.mutable_data_ptr<float>();
  args.source = problem.source.mutable_data_ptr<int64_t>();
  return problem;
}

void check_range(const char* name, const int64_t* values, int64_t count, int64_t end) {
  for (int64_t i = 0; i < count; ++i) {
    check(values[i] >= 0 && values[i] < end, name, "[", i, "] is ", values[i], ", but must be in [0, ", end,
          ")");
  }
}

void vote_patches_cpu(const std::vector<Tensor>& keys, const Tensor& position, const Tensor& index,
                      int64_t size, const Tensor& target, const Tensor& count) {
  Problem problem = prepare(keys, position, index, size, target, count);
  check_range("position", problem.args.position, problem.args.matches, problem.source.numel());
  check_range("index", problem.args.index, problem.args.matches, problem.key_positions);
  cpu::vote_patches(problem.args, parallel_for);
}

#if defined(NEURALPATCH_WITH_CUDA)
void vote_patches_cuda(const std::vector<Tensor>& keys, const Tensor& position, const Tensor& index,
                       int64_t size, const Tensor& target, const Tensor& count) {
  const torch::stable::accelerator::DeviceGuard guard(target.get_device_index());
  Problem problem = prepare(keys, position, index, size, target, count);
  check_launch("vote_patches", cuda::vote_patches(problem.args, current_stream(target.get_device_index())));
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def(
      "vote_patches(Tensor[] keys, Tensor position, Tensor index, int size, Tensor(a!) target, "
      "Tensor(b!) count) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("vote_patches", TORCH_BOX(&vote_patches_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) { m.impl("vote_patches", TORCH_BOX(&vote_patches_cuda)); }
#endif

}  // namespace neuralpatch::bindings
