// The Python module. Loading it registers the operators; it has no other content.
#include <Python.h>

#include <algorithm>
#include <string>

#include "bindings/common.h"
#include "cpu/kernels.h"

#define NEURALPATCH_STRING_OF(...) #__VA_ARGS__
#define NEURALPATCH_STRING(...) NEURALPATCH_STRING_OF(__VA_ARGS__)

PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef module = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&module);
}

namespace neuralpatch::bindings {
namespace {

// One "name=value" per line.
std::string build_info() {
  std::string info = std::string("compiler=") + __VERSION__ + "\ncpu_isa=" + cpu::kernels().name;
#if defined(NEURALPATCH_WITH_CUDA)
  info += "\ncuda=yes\ncuda_archs=" NEURALPATCH_STRING(NEURALPATCH_CUDA_ARCHS) "\ncuda_devices=";
  info += std::to_string(std::max(cuda::device_count(), 0));
#else
  info += "\ncuda=no";
#endif
  return info;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(neuralpatch, m) { m.def("build_info() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(neuralpatch, CompositeExplicitAutograd, m) {
  m.impl("build_info", TORCH_BOX(&build_info));
}

}  // namespace neuralpatch::bindings
