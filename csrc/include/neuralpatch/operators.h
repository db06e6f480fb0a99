// The operators' launchers: plain structs of raw pointers and sizes, one launcher per operator and device.
//
// Nothing here knows PyTorch, so that kernels compile in a second and can be emulated on the CPU. The caller
// (csrc/bindings) checks shapes and dtypes and allocates every buffer, outputs and workspace included.
//
// Layouts. "Pixel-major" is [height, width, channels], contiguous: the memory of a channels-last tensor.
// A patch position is the top-left pixel of a size x size patch; positions are numbered row-major over the
// grid of (height - size + 1) x (width - size + 1) positions.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace neuralpatch {

enum class DType { kFloat32, kBFloat16, kFloat16 };

// Runs body(begin, end) over disjoint sub-ranges of [begin, end), of at least `grain` items each, on several
// threads.
using RangeBody = std::function<void(int64_t begin, int64_t end)>;
using ParallelFor = std::function<void(int64_t begin, int64_t end, int64_t grain, const RangeBody& body)>;

// patches[b, n, (c * size + dy) * size + dx] = features[b, c, y * stride + dy, x * stride + dx], n row-major
// over (y, x).
struct ExtractPatchesArgs {
  const void* features;  // [batch, channels, height, width] with the strides below
  void* patches;         // [batch, rows * columns, channels * size * size], contiguous
  DType dtype;
  int64_t batch, channels, height, width;
  int64_t batch_stride, channel_stride, row_stride, column_stride;  // of features, in elements
  int size, stride;
  int64_t rows, columns;  // of the patch grid
};

// The adjoint of ExtractPatchesArgs: each feature's gradient is the sum over the patches that contain it.
struct ExtractPatchesBackwardArgs {
  const void* grad_patches;  // [batch, rows * columns, channels * size * size], contiguous
  void* grad_features;       // [batch, channels, height, width], contiguous
  DType dtype;
  int64_t batch, channels, height, width;
  int size, stride;
  int64_t rows, columns;
};

// Maps to take matches from: one for each image, or one for all of them.
struct Exemplar {
  const void* key;   // pixel-major [key_images, height, width, channels]
  const bool* mask;  // [mask_images, positions], true where selected
  int64_t height, width;
  int64_t key_images, mask_images;  // of each, 1 or as many as there are images
};

// For each selected query patch q, the selected key patch k, of all exemplars for its image, with the highest
// <q, k> / (|q| |k|). Ties go to the lowest index; the score of a pair with a zero norm is 0.
struct MatchPatchesArgs {
  const void* query;  // pixel-major [images, query_height, query_width, channels]
  DType dtype;        // of queries and keys
  int64_t images, channels, query_height, query_width;
  const Exemplar* exemplar;  // [exemplars], on the host
  int exemplars;
  int size;
  int variant;                    // choose_match_variant(args, ...).variant
  const int64_t* query_position;  // [queries], ascending: the selected of the images' positions
  int64_t queries;
  int64_t* index;   // [queries], best key position; each exemplar's come after those of the one before
  float* score;     // [queries], its normalised cross-correlation
  void* workspace;  // CUDA only: match_patches_workspace(args) bytes, 256-byte aligned
};

// Which variant of an operator runs, and why; or -1, and why none can.
struct VariantChoice {
  int variant;
  std::string reason;
};

// A map to take matches from; its positions are numbered from `first` on, after those of the maps before it.
struct SearchMap {
  const void* key;   // pixel-major [height, width, channels]
  const bool* mask;  // [positions], true where selected
  int64_t height, width;
  int64_t first;
};

// PatchMatch (Barnes et al., 2009): improves matches by those of neighbouring queries, and by random ones
// nearer and nearer to the best so far. core/patchmatch.h says which candidates are looked at. A match is
// replaced only by one with a higher <q, k> / (|q| |k|).
struct RefineMatchesArgs {
  static constexpr int kMaxMaps = 64;  // by value in the parameters of a CUDA kernel
  const void* query;                   // pixel-major [query_height, query_width, channels]
  DType dtype;                         // of query and keys
  int64_t channels, query_height, query_width;
  SearchMap map[kMaxMaps];
  int maps;
  int size;
  const int64_t* query_position;  // [queries], distinct positions
  int64_t queries;
  const int64_t* start;  // [queries], selected positions of the maps: the matches to begin with
  int rounds;
  uint32_t seed;
  int64_t* index;   // [queries]
  float* score;     // [queries]
  void* workspace;  // CUDA only: refine_matches_workspace(args) bytes, 256-byte aligned
};

// One of the maps that patches are taken from. Its positions are numbered from `first` on, after those of the
// maps before it.
struct KeyMap {
  const void* features;  // pixel-major [height, width, channels]
  int64_t height, width;
  int64_t first;
};

// Averages the matched patches where they overlap. With match m placing key patch index[m] at position[m]:
//   count[p] = number of (m, d) with position[m] + d == p,
//   target[p] = sum over them of key[index[m] + d] / count[p], or 0 where count[p] == 0.
struct VotePatchesArgs {
  static constexpr int kMaxKeys = 64;  // by value in the parameters of a CUDA kernel
  KeyMap key[kMaxKeys];
  int keys;
  DType dtype;
  int64_t channels;
  const int64_t* position;  // [matches], distinct positions in the grid of the target
  const int64_t* index;     // [matches], positions in the grids of the keys
  int64_t matches;
  int size;
  int64_t height, width;  // of the target
  void* target;           // pixel-major [height, width, channels]
  float* count;           // [height, width]
  int64_t* source;        // workspace, one per target position: where the patch placed there begins, or -1
};

// loss = sum_p weight[p] * |features[p] - target[p]|^2;  gradient[p] = 2 * weight[p] * (features[p] -
// target[p]). Nothing is read where the weight is 0.
struct TextureLossArgs {
  const void* features;  // pixel-major [pixels, channels]
  const void* target;    // the same shape and dtype
  const float* weight;   // [pixels]
  DType dtype;
  int64_t channels, pixels;
  float* loss;        // one value
  void* gradient;     // as features, or null if only the loss is wanted
  double* workspace;  // texture_loss_workspace(args) values: partial sums, added in a fixed order
};

// loss = sum over horizontally or vertically adjacent pixels of which at least one is in the mask, and over
// channels, of the squared difference; gradient is its derivative.
struct TotalVariationArgs {
  const void* x;     // [channels, height, width], contiguous
  const bool* mask;  // [height, width]
  DType dtype;
  int64_t channels, height, width;
  float* loss;        // one value
  void* gradient;     // as x, or null if only the loss is wanted
  double* workspace;  // total_variation_workspace(args) values: partial sums, added in a fixed order
};

namespace cpu {
void extract_patches(const ExtractPatchesArgs& args, const ParallelFor& parallel_for);
void extract_patches_backward(const ExtractPatchesBackwardArgs& args, const ParallelFor& parallel_for);
VariantChoice choose_match_variant(const MatchPatchesArgs& args, const std::string& wanted);
// Every image with queries must have a selected key.
void match_patches(const MatchPatchesArgs& args, const ParallelFor& parallel_for);
void refine_matches(const RefineMatchesArgs& args, const ParallelFor& parallel_for);
void vote_patches(const VotePatchesArgs& args, const ParallelFor& parallel_for);
int64_t texture_loss_workspace(const TextureLossArgs& args);
void texture_loss(const TextureLossArgs& args, const ParallelFor& parallel_for);
int64_t total_variation_workspace(const TotalVariationArgs& args);
void total_variation(const TotalVariationArgs& args, const ParallelFor& parallel_for);
}  // namespace cpu

// Each enqueues its kernels on `stream` (a cudaStream_t) of the current device and returns without waiting;
// the result is nullptr, or the text of the CUDA error.
namespace cuda {
const char* extract_patches(const ExtractPatchesArgs& args, void* stream);
const char* extract_patches_backward(const ExtractPatchesBackwardArgs& args, void* stream);
VariantChoice choose_match_variant(const MatchPatchesArgs& args, const std::string& wanted);
// The queries of an image without a selected key get index 0 and score NaN.
int64_t match_patches_workspace(const MatchPatchesArgs& args);
const char* match_patches(const MatchPatchesArgs& args, void* stream);
int64_t refine_matches_workspace(const RefineMatchesArgs& args);
const char* refine_matches(const RefineMatchesArgs& args, void* stream);
const char* vote_patches(const VotePatchesArgs& args, void* stream);
int64_t texture_loss_workspace(const TextureLossArgs& args);
const char* texture_loss(const TextureLossArgs& args, void* stream);
int64_t total_variation_workspace(const TotalVariationArgs& args);
const char* total_variation(const TotalVariationArgs& args, void* stream);

// Number of CUDA devices, or minus the error code.
int device_count();
}  // namespace cuda

}  // namespace neuralpatch
