#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

using Matches = std::tuple<Tensor, Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor query, key, key_mask;
  MatchPatchesArgs args;
};

Tensor convert(const Tensor& features, const std::string& precision) {
  check(precision == "auto" || precision == "fp32" || precision == "bf16",
        "precision must be 'auto', 'fp32' or 'bf16', not '", precision, "'");
  if (precision == "auto") return features;
  return torch::stable::to(features, precision == "fp32" ? ScalarType::Float : ScalarType::BFloat16);
}

void check_mask(const char* name, const Tensor& mask, const char* features_name, const Tensor& features,
                int64_t size) {
  check_like(name, mask, features, ScalarType::Bool);
  check_dim(name, mask, 2);
  const int64_t rows = positions_along(features.size(1), size),
                columns = positions_along(features.size(2), size);
  check(rows > 0 && columns > 0, "patches of size ", size, " do not fit into ", features_name, " of ",
        features.size(1), " x ", features.size(2), " pixels");
  check(mask.size(0) == rows && mask.size(1) == columns, name, " must be [", rows, ", ", columns,
        "], one value per patch position of ", features_name, ", not [", mask.size(0), ", ", mask.size(1),
        "]");
}

Problem prepare(const Tensor& query, const Tensor& key, const Tensor& query_mask, const Tensor& key_mask,
                int64_t size, const std::string& precision) {
  check_dim("query", query, 3);
  check_dim("key", key, 3);
  check(size >= 1, "size must be at least 1, not ", size);
  check(query.size(0) > 0, "query must have at least one channel");
  check(query.size(0) == key.size(0), "query and key must have equally many channels, not ", query.size(0),
        " and ", key.size(0));
  check_like("key", key, query, query.scalar_type());
  check_mask("query_mask", query_mask, "query", query, size);
  check_mask("key_mask", key_mask, "key", key, size);
  check(key_mask.numel() < std::numeric_limits<int32_t>::max(), "key has too many patch positions");
  Problem problem{pixel_major(convert(query, precision)),
                  pixel_major(convert(key, precision)),
                  torch::stable::contiguous(key_mask),
                  {}};
  MatchPatchesArgs& args = problem.args;
  args.query = problem.query.const_data_ptr();
  args.key = problem.key.const_data_ptr();
  args.dtype = dtype_of("query", problem.query);
  args.channels = query.size(0);
  args.query_height = query.size(1);
  args.query_width = query.size(2);
  args.key_height = key.size(1);
  args.key_width = key.size(2);
  args.size = static_cast<int>(size);
  args.key_mask = static_cast<const bool*>(problem.key_mask.const_data_ptr());
  return problem;
}

Matches allocate(MatchPatchesArgs& args, const Tensor& query) {
  Tensor index = empty({args.queries}, ScalarType::Long, query);
  Tensor score = empty({args.queries}, ScalarType::Float, query);
  args.index = index.mutable_data_ptr<int64_t>();
  args.score = score.mutable_data_ptr<float>();
  return {index, score};
}

constexpr const char* kNoKeys = "key_mask selects no patch, so there is nothing to match with";

Matches match_patches_cpu(const Tensor& query, const Tensor& key, const Tensor& query_mask,
                          const Tensor& key_mask, int64_t size, const std::string& precision) {
  Problem problem = prepare(query, key, query_mask, key_mask, size, precision);
  MatchPatchesArgs& args = problem.args;
  const Tensor mask = torch::stable::contiguous(query_mask);
  const bool* selected = static_cast<const bool*>(mask.const_data_ptr());
  std::vector<int64_t> position;
  for (int64_t i = 0; i < mask.numel(); ++i) {
    if (selected[i]) position.push_back(i);
  }
  args.query_position = position.data();
  args.queries = static_cast<int64_t>(position.size());
  Matches matches = allocate(args, query);
  if (args.queries > 0) {
    const bool* keys = args.key_mask;
    check(std::find(keys, keys + key_mask.numel(), true) != keys + key_mask.numel(), kNoKeys);
    cpu::match_patches(args, parallel_for);
  }
  return matches;
}

#if defined(NEURALPATCH_WITH_CUDA)
Tensor call_unary(const char* op, const Tensor& tensor) {
  std::array<StableIValue, 1> stack{torch::stable::detail::from(tensor)};
  STABLE_TORCH_ERROR_CODE_CHECK(torch_call_dispatcher(op, "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

Matches match_patches_cuda(const Tensor& query, const Tensor& key, const Tensor& query_mask,
                           const Tensor& key_mask, int64_t size, const std::string& precision) {
  const torch::stable::accelerator::DeviceGuard guard(query.get_device_index());
  Problem problem = prepare(query, key, query_mask, key_mask, size, precision);
  MatchPatchesArgs& args = problem.args;
  const Tensor position =
      torch::stable::contiguous(call_unary("aten::nonzero", torch::stable::flatten(query_mask)));
  args.query_position = position.const_data_ptr<int64_t>();
  args.queries = position.size(0);
  Matches matches = allocate(args, query);
  if (args.queries > 0) {
    bool any = false;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_item_bool(call_unary("aten::any", problem.key_mask).get(), &any));
    check(any, kNoKeys);
    const Tensor workspace = empty({cuda::match_patches_workspace(args)}, ScalarType::Byte, query);
    args.workspace = workspace.mutable_data_ptr();
    check_launch("match_patches", cuda::match_patches(args, current_stream(query.get_device_index())));
  }
  return matches;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def(
      "match_patches(Tensor query, Tensor key, Tensor query_mask, Tensor key_mask, int size=3, "
      "str precision=\"auto\") -> (Tensor index, Tensor score)");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) { m.impl("match_patches", TORCH_BOX(&match_patches_cpu)); }

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) { m.impl("match_patches", TORCH_BOX(&match_patches_cuda)); }
#endif

}  // namespace neuralpatch::bindings
