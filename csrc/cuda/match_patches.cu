// Exact search for the best-correlated patch, by sums along the shifted diagonals of pixel correlations.
//
// With D[a, b] = <query pixel a, key pixel b>, the correlation of two patches is S[q, k] = sum over offsets d
// of D[q + d, k + d]. D exists only as a tile on the chip: a block takes a row of query pixels and a row of
// key pixels, computes their tile of D, adds up its shifted diagonals (one row of the patches), adds the last
// `size` such rows (the patches), and moves both pixel rows down by one. core/diagonals.h says how the maps
// are cut into such walks. D costs a size^2-th of the multiplications of the product of unfolded patches.
//
// The variants differ in how a tile is computed; the rest is shared. One launch of each kernel serves all
// images and exemplars, nothing waits for the device, and all memory is the caller's.
#include <algorithm>
#include <vector>

#include "core/variant.h"
#include "cuda/match/float_product.h"
#include "cuda/match/search.h"
#include "cuda/match/tensor_core_product.h"

namespace neuralpatch::cuda {
namespace {

constexpr int64_t kMaxPixels = int64_t(1) << 28;  // pixels and lanes of a map are counted in 32 bits
constexpr int64_t kMaxGridRows = 65535;

// ----------------------------------------------------------------------------------------------------
// The variants
// ----------------------------------------------------------------------------------------------------

enum VariantNumber { kTensorCore, kTensorCoreSplit, kFloat };

struct Circumstances {
  const MatchPatchesArgs& args;
  int capability;  // 90 for 9.0
};

std::string tensor_core_obstacle(const Circumstances& at) {
  const MatchPatchesArgs& args = at.args;
  if (args.dtype == DType::kFloat32) return "it takes bfloat16 or float16 features, not float32";
  if (args.size != 3) return "it takes patches of size 3, not " + std::to_string(args.size);
  if (args.channels == 0 || args.channels % 16 != 0)
    return "it takes a multiple of 16 channels, not " + std::to_string(args.channels);
  bool aligned = aligned_16(args.query);
  for (int e = 0; e < args.exemplars; ++e) aligned = aligned && aligned_16(args.exemplar[e].key);
  if (!aligned) return "it takes features that begin at a multiple of 16 bytes";
  if (at.capability < 80) return "it needs compute capability 8.0";
  return "";
}

std::string tensor_core_split_obstacle(const Circumstances& at) {
  if (at.args.dtype != DType::kFloat32) return "it takes float32 features";
  if (at.args.size != 3) return "it takes patches of size 3, not " + std::to_string(at.args.size);
  if (at.capability < 80) return "it needs compute capability 8.0";
  return "";
}

std::string float_obstacle(const Circumstances& at) {
  if (at.args.size > kMaxSize)
    return "it takes patches of size 1 to " + std::to_string(kMaxSize) + ", not " +
           std::to_string(at.args.size);
  return "";
}

// In order of preference.
constexpr Variant<Circumstances> kVariants[] = {
    {"tensor_core", tensor_core_obstacle},
    {"tensor_core_split", tensor_core_split_obstacle},
    {"float", float_obstacle},
};

int key_lanes(int variant) {
  return variant == kFloat ? FloatProduct<float>::kKeyLanes : TensorCoreProduct<__half, 1, 1>::kKeyLanes;
}

// ----------------------------------------------------------------------------------------------------
// The workspace
// ----------------------------------------------------------------------------------------------------

struct Setup {
  Problem problem;
  std::vector<KeyMaps> keys;  // to be stored at problem.keys
  int64_t most_items;
  int64_t bytes;  // of the workspace
};

Setup set_up(const MatchPatchesArgs& args) {
  Allocator memory(args.workspace);
  const bool split = args.variant == kTensorCoreSplit;
  const int images = int(args.images), channels = int(args.channels);
  const int elements = split ? int(term_elements(channels)) : channels;
  const auto maps = [&](const void* features, int64_t count, int64_t height, int64_t width) {
    const int64_t pixels = count * height * width;
    const void* terms = split ? memory.take<__nv_bfloat16>(pixels * elements) : features;
    return FeatureMaps{features, terms, int(count), int(height), int(width), memory.take<float>(pixels)};
  };

  Setup setup{};
  Problem& problem = setup.problem;
  problem.exemplars = args.exemplars;
  problem.channels = channels;
  problem.elements = elements;
  problem.size = args.size;
  problem.key_lanes = key_lanes(args.variant);
  static_cast<FeatureMaps&>(problem.query) =
      maps(args.query, args.images, args.query_height, args.query_width);
  problem.query.selected = memory.take<uint8_t>(args.images * problem.query_positions());
  problem.query.box = memory.take<QueryBox>(args.images);
  problem.keys = memory.take<KeyMaps>(args.exemplars);
  problem.strips_per_item = memory.take<int64_t>(1);
  problem.first_item = memory.take<int>(int64_t(problem.pairs()) + 1);

  int64_t positions = 0, query_strips = 0, work = 0;
  for (int e = 0; e < args.exemplars; ++e) {
    const Exemplar& exemplar = args.exemplar[e];
    KeyMaps keys{};
    static_cast<FeatureMaps&>(keys) =
        maps(exemplar.key, exemplar.key_images, exemplar.height, exemplar.width);
    keys.mask = exemplar.mask;
    keys.mask_images = int(exemplar.mask_images);
    keys.masked_images = max(keys.images, keys.mask_images);
    keys.scale = memory.take<float>(int64_t(keys.masked_images) * keys.pixels());
    keys.bits = memory.take<uint32_t>(int64_t(keys.masked_images) * keys.words());
    keys.first_selected = memory.take<int>(keys.masked_images);
    keys.first_index = positions;
    positions += positions_along(exemplar.height, args.size) * positions_along(exemplar.width, args.size);
    const DiagonalPlan largest =
        largest_plan(problem.query.height - args.size + 1, problem.query_columns(), args.size, keys.height,
                     keys.width, kQueryLanes, problem.key_lanes);
    query_strips += int64_t(images) * largest.query_strips;
    work += images * strip_pairs(largest);
    setup.keys.push_back(keys);
  }
  setup.most_items = min(work, kTargetItems + query_strips);
  problem.best = memory.take<Candidate>(setup.most_items * kMaxBandRows * kQueryLanes);
  setup.bytes = memory.bytes();
  return setup;
}

// What is too large for the kernels' counters, or nullptr.
const char* excess(const MatchPatchesArgs& args) {
  const auto too_large = [](int64_t height, int64_t width) {
    return height >= kMaxPixels || width >= kMaxPixels || (height + 2 * kMaxBandRows) * width >= kMaxPixels;
  };
  bool large = too_large(args.query_height, args.query_width);
  for (int e = 0; e < args.exemplars; ++e) {
    large = large || too_large(args.exemplar[e].height, args.exemplar[e].width);
  }
  if (large) return "match_patches: a feature map has too many pixels";
  if (args.channels > INT_MAX / 4) return "match_patches: a feature map has too many channels";
  if (args.exemplars >= kMaxGridRows) return "match_patches: there are too many exemplars";
  if (args.images * args.exemplars >= kMaxPixels) return "match_patches: there are too many images";
  return nullptr;
}

// ----------------------------------------------------------------------------------------------------
// The launcher
// ----------------------------------------------------------------------------------------------------

template <typename T, bool kSplit>
const char* prepare(const MatchPatchesArgs& args, const Setup& setup, int processors, cudaStream_t stream) {
  const Problem& problem = setup.problem;
  const int64_t most_blocks = int64_t(processors) * 8;
  const int64_t query_positions = args.images * problem.query_positions();
  const cudaError_t error = cudaMemsetAsync(problem.query.selected, 0, query_positions, stream);
  if (error != cudaSuccess) return error_text(error);
  for (int first = 0; first < problem.exemplars; first += KeyMapsChunk::kMost) {
    KeyMapsChunk chunk{};
    const int count = min(KeyMapsChunk::kMost, problem.exemplars - first);
    std::copy_n(setup.keys.begin() + first, count, chunk.maps);
    store_keys_kernel<<<1, kThreads, 0, stream>>>(problem, chunk, first, count);
  }
  int64_t pixels = int64_t(problem.query.images) * problem.query.pixels(), words = 0;
  for (const KeyMaps& keys : setup.keys) {
    pixels = max(pixels, int64_t(keys.images) * keys.pixels());
    words = max(words, int64_t(keys.masked_images) * keys.words());
  }
  const unsigned exemplars = unsigned(problem.exemplars);
  measure_pixels_kernel<T, kSplit>
      <<<dim3(blocks_for(pixels, kWarps, most_blocks), exemplars + 1), kThreads, 0, stream>>>(problem);
  mark_queries_kernel<<<blocks_for(args.queries, kThreads, most_blocks), kThreads, 0, stream>>>(
      problem, args.query_position, args.queries);
  query_box_kernel<<<dim3(blocks_for(problem.query_positions(), kThreads * 16, most_blocks),
                          blocks_for(args.images, 1, kMaxGridRows)),
                     kThreads, 0, stream>>>(problem);
  scale_keys_kernel<<<dim3(blocks_for(words, kWarps, most_blocks), exemplars), kThreads, 0, stream>>>(
      problem);
  plan_items_kernel<<<1, kWarp, 0, stream>>>(problem);
  return launch_error();
}

using Search = const char* (*)(const Setup& setup, cudaStream_t stream);

template <int kSize, typename Product>
const char* search(const Setup& setup, cudaStream_t stream) {
  constexpr int kShared = sizeof(SearchShared<kSize, Product>);
  const auto kernel = search_kernel<kSize, Product>;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (error != cudaSuccess) return error_text(error);
  kernel<<<unsigned(setup.most_items), kThreads, kShared, stream>>>(setup.problem);
  return launch_error();
}

template <typename T>
Search float_search(int size) {
  constexpr Search kBySize[kMaxSize] = {search<1, FloatProduct<T>>, search<2, FloatProduct<T>>,
                                        search<3, FloatProduct<T>>, search<4, FloatProduct<T>>,
                                        search<5, FloatProduct<T>>, search<6, FloatProduct<T>>,
                                        search<7, FloatProduct<T>>};
  return kBySize[size - 1];
}

// Hopper has room for stages of two chunks in two blocks a multiprocessor.
template <typename T, int kTerms>
Search tensor_core_search(int capability) {
  return capability == 90 ? search<3, TensorCoreProduct<T, kTerms, 2>>
                          : search<3, TensorCoreProduct<T, kTerms, 1>>;
}

struct Device {
  int processors;
  int capability;  // 90 for 9.0
};

template <typename T>
const char* run(const MatchPatchesArgs& args, Device device, cudaStream_t stream) {
  constexpr bool kIsFloat = sizeof(T) == 4;
  const Setup setup = set_up(args);
  const bool split = kIsFloat && args.variant == kTensorCoreSplit;
  const char* failure = split ? prepare<T, kIsFloat>(args, setup, device.processors, stream)
                              : prepare<T, false>(args, setup, device.processors, stream);
  if (failure != nullptr) return failure;
  Search chosen = float_search<T>(args.size);
  if constexpr (kIsFloat) {
    if (args.variant == kTensorCoreSplit) chosen = tensor_core_search<__nv_bfloat16, 2>(device.capability);
  } else {
    if (args.variant == kTensorCore) chosen = tensor_core_search<T, 1>(device.capability);
  }
  failure = chosen(setup, stream);
  if (failure != nullptr) return failure;
  finish_kernel<<<blocks_for(args.queries, kThreads, int64_t(device.processors) * 8), kThreads, 0, stream>>>(
      setup.problem, args.query_position, args.queries, args.index, args.score);
  return launch_error();
}

cudaError_t current_device(Device* device) {
  int number = 0, major = 0, minor = 0;
  cudaError_t error = cudaGetDevice(&number);
  const auto read = [&](cudaDeviceAttr attribute, int* value) {
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(value, attribute, number);
  };
  read(cudaDevAttrMultiProcessorCount, &device->processors);
  read(cudaDevAttrComputeCapabilityMajor, &major);
  read(cudaDevAttrComputeCapabilityMinor, &minor);
  device->capability = major * 10 + minor;
  return error;
}

}  // namespace

VariantChoice choose_match_variant(const MatchPatchesArgs& args, const std::string& wanted) {
  Device device;
  const cudaError_t error = current_device(&device);
  if (error != cudaSuccess) return {-1, error_text(error)};
  return choose_variant(kVariants, Circumstances{args, device.capability}, wanted);
}

int64_t match_patches_workspace(const MatchPatchesArgs& args) {
  return args.queries == 0 || excess(args) != nullptr ? 0 : set_up(args).bytes;
}

const char* match_patches(const MatchPatchesArgs& args, void* stream) {
  if (args.queries == 0) return nullptr;
  if (const char* problem = excess(args)) return problem;
  Device device;
  const cudaError_t error = current_device(&device);
  if (error != cudaSuccess) return error_text(error);
  return with_element_type(args.dtype, [&](auto type) {
    return run<typename decltype(type)::type>(args, device, as_stream(stream));
  });
}

}  // namespace neuralpatch::cuda
