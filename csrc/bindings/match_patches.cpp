#include <algorithm>
#include <limits>
#include <string>
#include <tuple>

#include "bindings/common.h"
#include "core/geometry.h"

namespace neuralpatch::bindings {
namespace {

using Matches = std::tuple<Tensor, Tensor>;
using Tensors = std::vector<Tensor>;

// The arguments in the layout of the launchers; the tensors keep the memory that `args` points to.
struct Problem {
  Tensor query, position;
  Tensors keys, masks;
  std::vector<Exemplar> exemplars;
  MatchPatchesArgs args;
};

Tensor convert(const Tensor& features, const std::string& precision) {
  check(precision == "auto" || precision == "fp32" || precision == "bf16",
        "precision must be 'auto', 'fp32' or 'bf16', not '", precision, "'");
  if (precision == "auto") return features;
  return torch::stable::to(features, precision == "fp32" ? ScalarType::Float : ScalarType::BFloat16);
}

// [B, C, H, W] with any strides -> [B, H, W, C] contiguous; no copy of a channels-last tensor.
Tensor images_pixel_major(const Tensor& features) {
  return torch::stable::contiguous(torch::stable::transpose(torch::stable::transpose(features, 1, 2), 2, 3));
}

void check_fits(const char* name, const Tensor& features, int64_t size) {
  check(positions_along(features.size(2), size) > 0 && positions_along(features.size(3), size) > 0,
        "patches of size ", size, " do not fit into ", name, " of ", features.size(2), " x ",
        features.size(3), " pixels");
}

void check_images(const std::string& name, const Tensor& tensor, const Tensor& query) {
  check(tensor.size(0) == 1 || tensor.size(0) == query.size(0), name, " must be of one image or of ",
        query.size(0), ", as query is, not of ", tensor.size(0));
}

Exemplar prepare_exemplar(const Tensor& key, const Tensor& mask, const Tensor& query, int64_t size) {
  check_dim("key", key, 4);
  check(query.size(1) == key.size(1), "query and key must have equally many channels, not ", query.size(1),
        " and ", key.size(1));
  check_like("key", key, query, query.scalar_type());
  check_images("key", key, query);
  check_fits("key", key, size);
  check_like("key_mask", mask, key, ScalarType::Bool);
  check_dim("key_mask", mask, 3);
  check_images("key_mask", mask, query);
  const int64_t rows = positions_along(key.size(2), size), columns = positions_along(key.size(3), size);
  check(mask.size(1) == rows && mask.size(2) == columns, "key_mask must be [", rows, ", ", columns,
        "], one value per patch position of key, not [", mask.size(1), ", ", mask.size(2), "]");
  check(rows * columns < std::numeric_limits<int32_t>::max(), "key has too many patch positions");
  return {nullptr, nullptr, key.size(2), key.size(3), key.size(0), mask.size(0)};
}

Problem prepare(const Tensor& query, const Tensors& keys, const Tensor& query_position,
                const Tensors& key_masks, int64_t size, const std::string& precision) {
  check_dim("query", query, 4);
  check(size >= 1, "size must be at least 1, not ", size);
  check(query.size(1) > 0, "query must have at least one channel");
  check_fits("query", query, size);
  check_like("query_position", query_position, query, ScalarType::Long);
  check_dim("query_position", query_position, 1);
  check(!keys.empty(), "key must hold at least one exemplar");
  check(keys.size() == key_masks.size(), "there must be as many key masks as keys, not ", key_masks.size(),
        " for ", keys.size());
  Problem problem;
  for (size_t e = 0; e < keys.size(); ++e) {
    problem.exemplars.push_back(prepare_exemplar(keys[e], key_masks[e], query, size));
    problem.keys.push_back(images_pixel_major(convert(keys[e], precision)));
    problem.masks.push_back(torch::stable::contiguous(key_masks[e]));
    problem.exemplars[e].key = problem.keys[e].const_data_ptr();
    problem.exemplars[e].mask = static_cast<const bool*>(problem.masks[e].const_data_ptr());
  }
  problem.query = images_pixel_major(convert(query, precision));
  problem.position = torch::stable::contiguous(query_position);
  MatchPatchesArgs& args = problem.args;
  args = {};
  args.query = problem.query.const_data_ptr();
  args.dtype = dtype_of("query", problem.query);
  args.images = query.size(0);
  args.channels = query.size(1);
  args.query_height = query.size(2);
  args.query_width = query.size(3);
  args.exemplar = problem.exemplars.data();
  args.exemplars = static_cast<int>(problem.exemplars.size());
  args.size = static_cast<int>(std::min<int64_t>(size, std::numeric_limits<int>::max()));
  args.query_position = problem.position.const_data_ptr<int64_t>();
  args.queries = problem.position.size(0);
  return problem;
}

VariantChoice checked(VariantChoice choice) {
  check(choice.variant >= 0, choice.reason);
  return choice;
}

Matches allocate(MatchPatchesArgs& args, const Tensor& query) {
  Tensor index = empty({args.queries}, ScalarType::Long, query);
  Tensor score = empty({args.queries}, ScalarType::Float, query);
  args.index = index.mutable_data_ptr<int64_t>();
  args.score = score.mutable_data_ptr<float>();
  return {index, score};
}

// What only the CPU can look at without waiting: the values of positions and masks.
void check_values(const MatchPatchesArgs& args) {
  const int64_t grid =
      positions_along(args.query_height, args.size) * positions_along(args.query_width, args.size);
  const int64_t* position = args.query_position;
  int64_t previous = -1, checked_image = -1;
  for (int64_t i = 0; i < args.queries; ++i) {
    check(position[i] > previous, "query_position must ascend, from 0 on");
    check(position[i] < args.images * grid, "query_position must be less than ", args.images * grid,
          ", the number of patch positions of query");
    previous = position[i];
    const int64_t image = position[i] / grid;
    if (image == checked_image) continue;
    checked_image = image;
    const bool any =
        std::any_of(args.exemplar, args.exemplar + args.exemplars, [&](const Exemplar& exemplar) {
          const int64_t positions =
              positions_along(exemplar.height, args.size) * positions_along(exemplar.width, args.size);
          const bool* mask = exemplar.mask + (exemplar.mask_images == 1 ? 0 : image) * positions;
          return std::find(mask, mask + positions, true) != mask + positions;
        });
    check(any, "key_mask selects no patch, so there is nothing to match with");
  }
}

Matches match_patches_cpu(const Tensor& query, const Tensors& keys, const Tensor& query_position,
                          const Tensors& key_masks, int64_t size, const std::string& precision,
                          const std::string& variant) {
  Problem problem = prepare(query, keys, query_position, key_masks, size, precision);
  MatchPatchesArgs& args = problem.args;
  args.variant = checked(cpu::choose_match_variant(args, variant)).variant;
  check_values(args);
  Matches matches = allocate(args, query);
  cpu::match_patches(args, parallel_for);
  return matches;
}

std::string match_patches_variant_cpu(const Tensor& query, const Tensors& keys, const Tensor& query_position,
                                      const Tensors& key_masks, int64_t size, const std::string& precision,
                                      const std::string& variant) {
  const Problem problem = prepare(query, keys, query_position, key_masks, size, precision);
  return checked(cpu::choose_match_variant(problem.args, variant)).reason;
}

#if defined(NEURALPATCH_WITH_CUDA)
Matches match_patches_cuda(const Tensor& query, const Tensors& keys, const Tensor& query_position,
                           const Tensors& key_masks, int64_t size, const std::string& precision,
                           const std::string& variant) {
  const torch::stable::accelerator::DeviceGuard guard(query.get_device_index());
  Problem problem = prepare(query, keys, query_position, key_masks, size, precision);
  MatchPatchesArgs& args = problem.args;
  args.variant = checked(cuda::choose_match_variant(args, variant)).variant;
  Matches matches = allocate(args, query);
  const Tensor workspace = empty({cuda::match_patches_workspace(args)}, ScalarType::Byte, query);
  args.workspace = workspace.mutable_data_ptr();
  check_launch("match_patches", cuda::match_patches(args, current_stream(query.get_device_index())));
  return matches;
}

std::string match_patches_variant_cuda(const Tensor& query, const Tensors& keys, const Tensor& query_position,
                                       const Tensors& key_masks, int64_t size, const std::string& precision,
                                       const std::string& variant) {
  const torch::stable::accelerator::DeviceGuard guard(query.get_device_index());
  const Problem problem = prepare(query, keys, query_position, key_masks, size, precision);
  return checked(cuda::choose_match_variant(problem.args, variant)).reason;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) {
  m.def(
      "match_patches(Tensor query, Tensor[] keys, Tensor query_position, Tensor[] key_masks, int size, "
      "str precision, str variant) -> (Tensor index, Tensor score)");
  m.def(
      "match_patches_variant(Tensor query, Tensor[] keys, Tensor query_position, Tensor[] key_masks, "
      "int size, str precision, str variant) -> str");
}

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CPU, m) {
  m.impl("match_patches", TORCH_BOX(&match_patches_cpu));
  m.impl("match_patches_variant", TORCH_BOX(&match_patches_variant_cpu));
}

#if defined(NEURALPATCH_WITH_CUDA)
STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CUDA, m) {
  m.impl("match_patches", TORCH_BOX(&match_patches_cuda));
  m.impl("match_patches_variant", TORCH_BOX(&match_patches_variant_cuda));
}
#endif

}  // namespace neuralpatch::bindings
