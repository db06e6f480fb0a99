#include <algorithm>
#include <limits>
#include <tuple>

#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

using Refined = std::tuple<Tensor, Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor query, position, start;
  std::vector<Tensor> keys, masks;
  int64_t key_positions;
  RefineMatchesArgs args;
};

void check_positions(const char* name, const Tensor& map, int64_t size) {
  const int64_t rows = positions_along(map.size(1), size), columns = positions_along(map.size(2), size);
  check(rows > 0 && columns > 0, "patches of size ", size, " do not fit into ", name, " of ", map.size(1),
        " x ", map.size(2), " pixels");
  check(rows * columns < std::numeric_limits<int32_t>::max(), name, " has too many patch positions");
}

Problem prepare(const Tensor& query, const std::vector<Tensor>& keys, const Tensor& query_position,
                const std::vector<Tensor>& key_masks, const Tensor& start, int64_t size, int64_t rounds,
                int64_t seed) {
  check(!keys.empty() && keys.size() <= RefineMatchesArgs::kMaxMaps, "there must be 1 to ",
        RefineMatchesArgs::kMaxMaps, " keys, not ", keys.size());
  check(keys.size() == key_masks.size(), "there must be as many key masks as keys, not ", key_masks.size(),
        " for ", keys.size());
  check(size >= 1, "size must be at least 1, not ", size);
  check(rounds >= 0 && rounds <= std::numeric_limits<int>::max(), "rounds must be at least 0, not ", rounds);
  check(seed >= 0 && seed <= std::numeric_limits<uint32_t>::max(), "seed must be from 0 to 2^32 - 1, not ",
        seed);
  check_dim("query", query, 3);
  check_positions("query", query, size);
  check_dim("query_position", query_position, 1);
  check_same_shape("start", start, "query_position", query_position);
  check_like("query_position", query_position, query, ScalarType::Long);
  check_like("start", start, query, ScalarType::Long);
  Problem problem{pixel_major(query),
                  torch::stable::contiguous(query_position),
                  torch::stable::contiguous(start),
                  {},
                  {},
                  0,
                  {}};
  RefineMatchesArgs& args = problem.args;
  for (size_t m = 0; m < keys.size(); ++m) {
    const Tensor &key = keys[m], &mask = key_masks[m];
    check_dim("key", key, 3);
    check_like("key", key, query, query.scalar_type());
    check(key.size(0) == query.size(0), "query and key must have equally many channels, not ", query.size(0),
          " and ", key.size(0));
    check_positions("key", key, size);
    const int64_t rows = positions_along(key.size(1), size), columns = positions_along(key.size(2), size);
    check_dim("key_mask", mask, 2);
    check_like("key_mask", mask, query, ScalarType::Bool);
    check(mask.size(0) == rows && mask.size(1) == columns, "key_mask must be [", rows, ", ", columns,
          "], one value per patch position of key, not [", mask.size(0), ", ", mask.size(1), "]");
    problem.keys.push_back(pixel_major(key));
    problem.masks.push_back(torch::stable::contiguous(mask));
    args.map[args.maps++] = {problem.keys.back().const_data_ptr(),
                             static_cast<const bool*>(problem.masks.back().const_data_ptr()), key.size(1),
                             key.size(2), problem.key_positions};
    problem.key_positions += rows * columns;
  }
  check(problem.key_positions < std::numeric_limits<int32_t>::max(), "keys have too many patch positions");
  args.query = problem.query.const_data_ptr();
  args.dtype = dtype_of("query", query);
  args.channels = query.size(0);
  args.query_height = query.size(1);
  args.query_width = query.size(2);
  args.size = static_cast<int>(size);
  args.query_position = problem.position.const_data_ptr<int64_t>();
  args.queries = query_position.numel();
  args.start = problem.start.const_data_ptr<int64_t>();
  args.rounds = static_cast<int>(rounds);
  args.seed = static_cast<uint32_t>(seed);
  return problem;
}

Refined allocate(RefineMatchesArgs& args, const Tensor& query) {
  Tensor index = empty({args.queries}, ScalarType::Long, query);
  Tensor score = empty({args.queries}, ScalarType::Float, query);
  args.index = index.mutable_data_ptr<int64_t>();
  args.score = score.mutable_data_ptr<float>();
  return {index, score};
}

// What only the CPU can look at without waiting.
void check_values(const RefineMatchesArgs& args, int64_t key_positions) {
  const int64_t positions =
      positions_along(args.query_height, args.size) * positions_along(args.query_width, args.size);
  std::vector<bool> taken(positions);
  for (int64_t i = 0; i < args.queries; ++i) {
    const int64_t position = args.query_position[i], start = args.start[i];
    check(position >= 0 && position < positions, "query_position[", i, "] is ", position,
          ", but must be in [0, ", positions, ")");
    check(!taken[position], "query_position holds ", position, " twice");
    taken[position] = true;
    check(start >= 0 && start < key_positions, "start[", i, "] is ", start, ", but must be in [0, ",
          key_positions, ")");
    int m = args.maps - 1;
    while (start < args.map[m].first) --m;
    check(args.map[m].mask[start - args.map[m].first], "start[", i, "] is ", start,
          ", which key_mask does not select");
  }
}

Refined refine_matches_cpu(const Tensor& query, const std::vector<Tensor>& keys, const Tensor& query_position,
                           const std::vector<Tensor>& key_masks, const Tensor& start, int64_t size,
                           int64_t rounds, int64_t seed) {
  Problem problem = prepare(query, keys, query_position, key_masks, start, size, rounds, seed);
  check_values(problem.args, problem.key_positions);
  Refined refined = allocate(problem.args, query);
  cpu::refine_matches(problem.args, parallel_for);
  return refined;
}

#if defined(NEURALPATCH_WITH_CUDA)
Refined refine_matches_cuda(const Tensor& query, const std::vector<Tensor>& keys,
                            const Tensor& query_position, const std::vector<Tensor>& key_masks,
                            const Tensor& start, int64_t size, int64_t rounds, int64_t seed) {
  const torch::stable::accelerator::DeviceGuard guard(query.get_device_index());
  Problem problem = prepare(query, keys, query_position, key_masks, start, size, rounds, seed);
  Refined refined = allocate(problem.args, query);
  const Tensor workspace = empty({cuda::refine_matches_workspace(problem.args)}, ScalarType::Byte, query);
  problem.args.workspace = workspace.mutable_data_ptr();
  check_launch("refine_matches",
               cuda::refine_matches(problem.args, current_stream(query.get_device_index())));
  return refined;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def(
      "refine_matches(Tensor query, Tensor[] keys, Tensor query_position, Tensor[] key_masks, Tensor start, "
      "int size, int rounds, int seed) -> (Tensor index, Tensor score)");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("refine_matches", TORCH_BOX(&refine_matches_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) { m.impl("refine_matches", TORCH_BOX(&refine_matches_cuda)); }
#endif

}  // namespace neuralpatch::bindings
