// Python module of the emulated operators: numpy arrays in, numpy arrays out.
//
// float32 and float16 arrays stand for themselves, uint16 arrays for bfloat16. Results are filled with NaN
// bits before the launch, so that an element the kernels do not write shows. An error text becomes a
// RuntimeError.
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/best.h"
#include "core/diagonals.h"
#include "core/geometry.h"
#include "core/tensor_core.h"
#include "faulty_kernels.h"
#include "neuralpatch/operators.h"
#include "tensor_core_kernels.h"

namespace py = pybind11;
namespace np = neuralpatch;

namespace {

using Floats = py::array_t<float, py::array::c_style>;
using Integers = py::array_t<int64_t, py::array::c_style>;
using Flags = py::array_t<bool, py::array::c_style>;
using Shape = std::vector<py::ssize_t>;

np::DType element_type(const py::array& array) {
  const char kind = array.dtype().kind();
  if (kind == 'f' && array.itemsize() == 4) return np::DType::kFloat32;
  if (kind == 'f' && array.itemsize() == 2) return np::DType::kFloat16;
  if (kind == 'u' && array.itemsize() == 2) return np::DType::kBFloat16;
  throw std::invalid_argument("elements must be float32, float16, or uint16 for bfloat16");
}

py::array contiguous(const py::array& array) { return py::array::ensure(array, py::array::c_style); }

py::array unwritten(const py::dtype& dtype, const Shape& shape) {
  py::array array(dtype, shape);
  memset(array.mutable_data(), 0xff, array.nbytes());
  return array;
}
template <typename T>
py::array unwritten(const Shape& shape) {
  return unwritten(py::dtype::of<T>(), shape);
}

// Device memory of exactly this size, as aligned as cudaMalloc's, and filled.
template <typename T>
std::unique_ptr<T, emu::FreeDeleter> device_memory(int64_t count) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, std::max<int64_t>(count * int64_t(sizeof(T)), 1))) throw std::bad_alloc();
  memset(memory, emu::settings.fresh_byte, count * sizeof(T));
  return std::unique_ptr<T, emu::FreeDeleter>(static_cast<T*>(memory));
}

// A copy of an array in device memory, `offset` elements after a 256-byte boundary, and not a byte longer.
class OnDevice {
 public:
  OnDevice(const py::array& array, int offset) : offset_(offset * array.itemsize()) {
    const py::array source = contiguous(array);
    memory_ = device_memory<char>(source.nbytes() + offset_);
    memcpy(memory_.get() + offset_, source.data(), source.nbytes());
  }
  const void* data() const { return memory_.get() + offset_; }

 private:
  int64_t offset_;
  std::unique_ptr<char, emu::FreeDeleter> memory_;
};

void check(const char* error) {
  if (error != nullptr) throw std::runtime_error(error);
}
void check_launch() {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

py::array extract_patches(const py::array& features, int size, int stride) {
  np::ExtractPatchesArgs args{};
  args.features = features.data();
  args.dtype = element_type(features);
  args.batch = features.shape(0);
  args.channels = features.shape(1);
  args.height = features.shape(2);
  args.width = features.shape(3);
  args.batch_stride = features.strides(0) / features.itemsize();
  args.channel_stride = features.strides(1) / features.itemsize();
  args.row_stride = features.strides(2) / features.itemsize();
  args.column_stride = features.strides(3) / features.itemsize();
  args.size = size;
  args.stride = stride;
  args.rows = np::positions_along(args.height, size, stride);
  args.columns = np::positions_along(args.width, size, stride);
  py::array patches =
      unwritten(features.dtype(), {args.batch, args.rows * args.columns, args.channels * size * size});
  args.patches = patches.mutable_data();
  check(np::cuda::extract_patches(args, nullptr));
  return patches;
}

py::array extract_patches_backward(const py::array& grad_patches, int64_t channels, int64_t height,
                                   int64_t width, int size, int stride) {
  const py::array source = contiguous(grad_patches);
  np::ExtractPatchesBackwardArgs args{};
  args.grad_patches = source.data();
  args.dtype = element_type(source);
  args.batch = source.shape(0);
  args.channels = channels;
  args.height = height;
  args.width = width;
  args.size = size;
  args.stride = stride;
  args.rows = np::positions_along(height, size, stride);
  args.columns = np::positions_along(width, size, stride);
  py::array grad_features = unwritten(source.dtype(), {args.batch, channels, height, width});
  args.grad_features = grad_features.mutable_data();
  check(np::cuda::extract_patches_backward(args, nullptr));
  return grad_features;
}

// Maps are [images, height, width, channels], masks [images, positions].
py::tuple match_patches(const py::array& query, const std::vector<py::array>& keys,
                        const Integers& query_position, const std::vector<Flags>& key_masks, int size,
                        const std::string& variant, int offset) {
  const OnDevice query_copy(query, offset);
  std::vector<OnDevice> key_copies;
  std::vector<np::Exemplar> exemplars;
  for (size_t e = 0; e < keys.size(); ++e) {
    key_copies.emplace_back(keys[e], offset);
    exemplars.push_back({key_copies[e].data(), key_masks[e].data(), keys[e].shape(1), keys[e].shape(2),
                         keys[e].shape(0), key_masks[e].shape(0)});
  }
  np::MatchPatchesArgs args{};
  args.query = query_copy.data();
  args.dtype = element_type(query);
  args.images = query.shape(0);
  args.query_height = query.shape(1);
  args.query_width = query.shape(2);
  args.channels = query.shape(3);
  args.exemplar = exemplars.data();
  args.exemplars = int(exemplars.size());
  args.size = size;
  args.query_position = query_position.data();
  args.queries = query_position.size();
  const np::VariantChoice choice = np::cuda::choose_match_variant(args, variant);
  if (choice.variant < 0) throw std::invalid_argument(choice.reason);
  args.variant = choice.variant;
  py::array index = unwritten<int64_t>({args.queries}), score = unwritten<float>({args.queries});
  args.index = static_cast<int64_t*>(index.mutable_data());
  args.score = static_cast<float*>(score.mutable_data());
  const auto workspace = device_memory<char>(np::cuda::match_patches_workspace(args));
  args.workspace = workspace.get();
  check(np::cuda::match_patches(args, nullptr));
  return py::make_tuple(index, score, choice.reason);
}

// Maps are [height, width, channels], masks [positions].
py::tuple refine_matches(const py::array& query, const std::vector<py::array>& keys,
                         const Integers& query_position, const std::vector<Flags>& key_masks,
                         const Integers& start, int size, int rounds, uint32_t seed, int offset) {
  const OnDevice query_copy(query, offset);
  std::vector<OnDevice> copies;
  np::RefineMatchesArgs args{};
  int64_t first = 0;
  for (size_t m = 0; m < keys.size(); ++m) {
    copies.emplace_back(keys[m], offset);
    args.map[args.maps++] = {copies.back().data(), key_masks[m].data(), keys[m].shape(0), keys[m].shape(1),
                             first};
    first += key_masks[m].size();
  }
  args.query = query_copy.data();
  args.dtype = element_type(query);
  args.query_height = query.shape(0);
  args.query_width = query.shape(1);
  args.channels = query.shape(2);
  args.size = size;
  args.query_position = query_position.data();
  args.queries = query_position.size();
  args.start = start.data();
  args.rounds = rounds;
  args.seed = seed;
  py::array index = unwritten<int64_t>({args.queries}), score = unwritten<float>({args.queries});
  args.index = static_cast<int64_t*>(index.mutable_data());
  args.score = static_cast<float*>(score.mutable_data());
  const auto workspace = device_memory<char>(np::cuda::refine_matches_workspace(args));
  args.workspace = workspace.get();
  check(np::cuda::refine_matches(args, nullptr));
  return py::make_tuple(index, score);
}

py::tuple vote_patches(const std::vector<py::array>& keys, const Integers& position, const Integers& index,
                       int size, int64_t height, int64_t width, int offset) {
  std::vector<OnDevice> copies;
  np::VotePatchesArgs args{};
  int64_t first = 0;
  for (const py::array& key : keys) {
    copies.emplace_back(key, offset);
    args.key[args.keys++] = {copies.back().data(), key.shape(0), key.shape(1), first};
    first += np::positions_along(key.shape(0), size) * np::positions_along(key.shape(1), size);
  }
  args.dtype = element_type(keys.front());
  args.channels = keys.front().shape(2);
  args.position = position.data();
  args.index = index.data();
  args.matches = position.size();
  args.size = size;
  args.height = height;
  args.width = width;
  py::array target = unwritten(keys.front().dtype(), {height, width, args.channels});
  py::array count = unwritten<float>({height, width});
  args.target = target.mutable_data();
  args.count = static_cast<float*>(count.mutable_data());
  const auto source =
      device_memory<int64_t>(np::positions_along(height, size) * np::positions_along(width, size));
  args.source = source.get();
  check(np::cuda::vote_patches(args, nullptr));
  return py::make_tuple(target, count);
}

// Both losses return (loss, gradient), or the loss alone if no gradient is wanted.
py::object texture_loss(const py::array& features, const py::array& target, const Floats& weight, int offset,
                        bool with_gradient) {
  const OnDevice features_copy(features, offset), target_copy(target, offset);
  np::TextureLossArgs args{};
  args.features = features_copy.data();
  args.target = target_copy.data();
  args.weight = weight.data();
  args.dtype = element_type(features);
  args.pixels = features.shape(0);
  args.channels = features.shape(1);
  py::array loss = unwritten<float>({}), gradient = unwritten(features.dtype(), {args.pixels, args.channels});
  args.loss = static_cast<float*>(loss.mutable_data());
  args.gradient = with_gradient ? gradient.mutable_data() : nullptr;
  const auto workspace = device_memory<double>(np::cuda::texture_loss_workspace(args));
  args.workspace = workspace.get();
  check(np::cuda::texture_loss(args, nullptr));
  return with_gradient ? py::object(py::make_tuple(loss, gradient)) : py::object(loss);
}

py::object total_variation(const py::array& x, const Flags& mask, bool with_gradient) {
  const OnDevice source(x, 0), flags(mask, 0);
  np::TotalVariationArgs args{};
  args.x = source.data();
  args.mask = static_cast<const bool*>(flags.data());
  args.dtype = element_type(x);
  args.channels = x.shape(0);
  args.height = x.shape(1);
  args.width = x.shape(2);
  const int64_t count = args.channels * args.height * args.width;
  const auto slope = device_memory<char>(count * x.itemsize());  // aligned as on a device
  py::array loss = unwritten<float>({}),
            gradient = unwritten(x.dtype(), {args.channels, args.height, args.width});
  args.loss = static_cast<float*>(loss.mutable_data());
  args.gradient = with_gradient ? slope.get() : nullptr;
  const auto workspace = device_memory<double>(np::cuda::total_variation_workspace(args));
  args.workspace = workspace.get();
  check(np::cuda::total_variation(args, nullptr));
  memcpy(gradient.mutable_data(), slope.get(), count * x.itemsize());
  return with_gradient ? py::object(py::make_tuple(loss, gradient)) : py::object(loss);
}

py::array multiply(const py::array& a, const py::array& b) {
  const OnDevice a_copy(a, 0), b_copy(b, 0);
  py::array c = unwritten<float>({16, 8});
  const auto kernel = element_type(a) == np::DType::kBFloat16 ? multiply_bfloat16 : multiply_float16;
  kernel(a_copy.data(), b_copy.data(), static_cast<float*>(c.mutable_data()));
  check_launch();
  return c;
}

// Every element a lane holds of a fragment, as (lane, i, row, column).
template <int kElements>
py::list fragment_elements(np::MatrixElement (*fragment)(int, int)) {
  py::list elements;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < kElements; ++i) {
      const np::MatrixElement at = fragment(lane, i);
      elements.append(py::make_tuple(lane, i, at.row, at.column));
    }
  }
  return elements;
}

np::DiagonalPlan plan_diagonals(const std::array<int, 4>& box, int size, int key_height, int key_width,
                                int query_lanes, int key_lanes) {
  return np::plan_diagonals({box[0], box[1], box[2], box[3]}, size, key_height, key_width, query_lanes,
                            key_lanes);
}

// Runs a faulty kernel on `count` values, which start as 0, 1, 2, ...
template <typename Launch>
py::array run_faulty(int count, Launch&& launch) {
  auto x = device_memory<float>(count), y = device_memory<float>(count);
  for (int i = 0; i < count; ++i) x.get()[i] = float(i);
  launch(x.get(), y.get());
  check_launch();
  py::array result = unwritten<float>({count});
  memcpy(result.mutable_data(), y.get(), count * sizeof(float));
  return result;
}

void define_core(py::module_& m) {
  m.def("positions_along", &np::positions_along);
  m.def("corner_pixel", &np::corner_pixel);
  m.def("position_of_corner", &np::position_of_corner);
  m.def("first_patch_containing", &np::first_patch_containing<int64_t>);
  m.def("better", [](std::pair<float, int64_t> a, std::pair<float, int64_t> b) {
    return np::better({a.first, a.second}, {b.first, b.second});
  });
  m.def("better_than_none",
        [](float score, int64_t index) { return np::better({score, index}, np::Best::none()); });
  m.def("steps_for_rows", &np::steps_for_rows);
  m.def("any_bit", [](const py::array_t<uint32_t, py::array::c_style>& words, int begin, int end) {
    return np::any_bit(words.data(), begin, end);
  });
  m.def("largest_plan", &np::largest_plan);
  m.def("strips_per_item", &np::strips_per_item);
  m.def("split", [](np::DiagonalPlan plan, int64_t strips_per_item) {
    np::split_plan(plan, strips_per_item);
    return plan;
  });
  m.def("plan_diagonals", &plan_diagonals);
  m.def("query_lane_pixel", [](const np::DiagonalPlan& plan, int strip, int lane) {
    int row = 0, column = 0;
    const bool exists = np::query_lane_pixel(plan, strip, lane, &row, &column);
    return py::make_tuple(exists, row, column);
  });
  m.def("place_of_query", [](const np::DiagonalPlan& plan, int row, int column) {
    const np::QueryPlace place = np::place_of_query(plan, row, column);
    return py::make_tuple(place.strip, place.lane, place.row);
  });
  m.def("key_strip_pixel", &np::key_strip_pixel);
  m.def("fragment_a", [] { return fragment_elements<8>(np::fragment_a); });
  m.def("fragment_b", [] { return fragment_elements<4>(np::fragment_b); });
  m.def("fragment_c", [] { return fragment_elements<4>(np::fragment_c); });
  m.def("multiply", &multiply, "a [16, 16] times b [8, 16] transposed, by one tensor-core product");
  m.def("round_to_bfloat16", [](float x) { return __float2bfloat16_rn(x).bits; });
  py::class_<np::DiagonalPlan>(m, "DiagonalPlan")
      .def_readonly("bands", &np::DiagonalPlan::bands)
      .def_readonly("band_rows", &np::DiagonalPlan::band_rows)
      .def_readonly("box_width", &np::DiagonalPlan::box_width)
      .def_readonly("query_strips", &np::DiagonalPlan::query_strips)
      .def_readonly("key_strips", &np::DiagonalPlan::key_strips)
      .def_readonly("splits", &np::DiagonalPlan::splits);
}

void define_faulty(py::module_& m) {
  m.def("reverse", [](bool with_barrier) {
    return run_faulty(64, [&](float* x, float* y) { faulty::reverse(x, y, with_barrier); });
  });
  m.def("async_copy", [](bool with_wait) {
    return run_faulty(128, [&](float* x, float* y) { faulty::async_copy(x, y, with_wait); });
  });
  m.def("global_overflow", [] { run_faulty(32, [](float* x, float*) { faulty::global_overflow(x, 32); }); });
  m.def("shared_overflow", [] { run_faulty(32, [](float* x, float*) { faulty::shared_overflow(x); }); });
  m.def("dynamic_overflow", [] { run_faulty(32, [](float* x, float*) { faulty::dynamic_overflow(x); }); });
  m.def("divergent_barrier", [] { run_faulty(32, [](float* x, float*) { faulty::divergent_barrier(x); }); });
  m.def("barrier_against_shuffle",
        [] { run_faulty(32, [](float* x, float*) { faulty::barrier_against_shuffle(x); }); });
  m.def("too_many_threads", [] { run_faulty(32, [](float* x, float*) { faulty::too_many_threads(x); }); });
}

}  // namespace

PYBIND11_MODULE(neuralpatch_emulation, m) {
  m.def(
      "set_thread_order", [](int order) { emu::settings.thread_order = order; },
      "0: forward; negative: reverse; positive: shuffled with this seed");
  m.def(
      "set_compute_capability", [](int capability) { emu::settings.compute_capability = capability; },
      "10 * major + minor, as the device is to report it");
  m.def(
      "set_fresh_byte", [](int value) { emu::settings.fresh_byte = value; },
      "what fresh shared memory and workspaces are filled with");
  m.def("device_count", &np::cuda::device_count);
  m.def("extract_patches", &extract_patches, py::arg("features"), py::arg("size"), py::arg("stride"));
  m.def("extract_patches_backward", &extract_patches_backward, py::arg("grad_patches"), py::arg("channels"),
        py::arg("height"), py::arg("width"), py::arg("size"), py::arg("stride"));
  m.def("match_patches", &match_patches, py::arg("query"), py::arg("keys"), py::arg("query_position"),
        py::arg("key_masks"), py::arg("size"), py::arg("variant") = "auto", py::arg("offset") = 0,
        "index, score, and which variant ran and why");
  m.def("refine_matches", &refine_matches, py::arg("query"), py::arg("keys"), py::arg("query_position"),
        py::arg("key_masks"), py::arg("start"), py::arg("size"), py::arg("rounds"), py::arg("seed") = 0,
        py::arg("offset") = 0);
  m.def("vote_patches", &vote_patches, py::arg("keys"), py::arg("position"), py::arg("index"),
        py::arg("size"), py::arg("height"), py::arg("width"), py::arg("offset") = 0);
  m.def("texture_loss", &texture_loss, py::arg("features"), py::arg("target"), py::arg("weight"),
        py::arg("offset") = 0, py::arg("with_gradient") = true);
  m.def("total_variation", &total_variation, py::arg("x"), py::arg("mask"), py::arg("with_gradient") = true);
  py::module_ core = m.def_submodule("core", "the host-and-device functions of csrc/core");
  define_core(core);
  py::module_ faults = m.def_submodule("faulty", "kernels with one mistake each");
  define_faulty(faults);
}
