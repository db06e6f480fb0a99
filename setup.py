"""Builds the extension module `neuralpatch_cuda._C`; everything else is in pyproject.toml.

The module is compiled against LibTorch's stable ABI and Python's limited API, so that one wheel serves every
PyTorch from 2.10 on, with or without CUDA, and every Python from 3.10 on. The kernels do not include
PyTorch's headers; nvcc is called by hand, because PyTorch's own support for it needs a PyTorch with CUDA.

Environment variables:
    NEURALPATCH_CUDA        1: CUDA kernels are required, 0: leave them out. Default: build if nvcc is found.
    NEURALPATCH_CUDA_ARCHS  compute capabilities, as in "75;80;90". Default: DEFAULT_ARCHS that nvcc knows.
    CUDA_HOME               the CUDA toolkit, if nvcc is not on the PATH.
    MAX_JOBS                compilers run at the same time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).resolve().parent
TORCH = Path(torch.__file__).parent
DEFAULT_ARCHS = ("75", "80", "86", "89", "90", "100", "120")
INCLUDES = ("csrc", "csrc/include")


def find_nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME")
    return shutil.which("nvcc", path=str(Path(home) / "bin")) if home else shutil.which("nvcc")


def cuda_home(nvcc: str) -> Path:
    """The toolkit that an nvcc belongs to; the command on the PATH may be a script elsewhere."""
    report = subprocess.run([nvcc, "--dryrun", "-c", "none.cu"], capture_output=True, text=True).stderr
    match = re.search(r"_THERE_=(.*)", report)
    return (Path(match[1].strip()) if match else Path(nvcc).resolve().parent).parent


def cuda_archs(nvcc: str) -> list[str]:
    wanted = os.environ.get("NEURALPATCH_CUDA_ARCHS")
    if wanted:
        return [arch.strip().replace(".", "") for arch in wanted.replace(",", ";").split(";") if arch.strip()]
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return [arch for arch in DEFAULT_ARCHS if f"compute_{arch}" in known.split()]


def select_nvcc() -> str | None:
    """The nvcc to build CUDA kernels with, or None to leave them out."""
    choice = os.environ.get("NEURALPATCH_CUDA", "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"NEURALPATCH_CUDA must be 0 or 1, not {choice!r}")
    nvcc = None if choice == "0" else find_nvcc()
    if choice == "1" and nvcc is None:
        raise SystemExit("NEURALPATCH_CUDA=1, but nvcc was not found: put it on the PATH or set CUDA_HOME")
    return nvcc


def sources(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob(pattern))


def jobs() -> int:
    return int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)


class Build(BuildExtension):
    """Compiles the CUDA sources first and hands their objects to the linker."""

    def build_extensions(self) -> None:
        nvcc = select_nvcc()
        (extension,) = self.extensions
        if nvcc is not None:
            archs = cuda_archs(nvcc)
            home = cuda_home(nvcc)
            extension.define_macros += [
                ("NEURALPATCH_WITH_CUDA", None),
                ("NEURALPATCH_CUDA_ARCHS", ",".join(archs)),
            ]
            with ThreadPoolExecutor(jobs()) as pool:
                objects = pool.map(lambda source: self.compile_cuda(nvcc, source, archs), sources("cuda/*.cu"))
                extension.extra_objects += list(objects)
            # The runtime is linked in, its symbols hidden: PyTorch's own may be of any version, or missing.
            # --no-as-needed: only libtorch brings in libtorch_cuda, where the current stream is looked up.
            extension.extra_link_args += [
                *(f"-L{home / lib}" for lib in ("lib64", "lib")),
                *("-lcudart_static", "-ldl", "-lrt", "-lpthread"),
                *("-Wl,--exclude-libs,ALL", "-Wl,--no-as-needed", "-ltorch"),
            ]
        super().build_extensions()

    def compile_cuda(self, nvcc: str, source: str, archs: list[str]) -> str:
        output = Path(self.build_temp).resolve() / "cuda" / f"{Path(source).stem}.o"
        output.parent.mkdir(parents=True, exist_ok=True)
        code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
        code.append(f"-gencode=arch=compute_{archs[-1].rstrip('af')},code=compute_{archs[-1].rstrip('af')}")
        command = [
            *(nvcc, "-c", source, "-o", str(output), "-O3", "-std=c++17"),
            f"-Xcompiler=-fPIC,-fvisibility=hidden,-ffile-prefix-map={ROOT}=.",
            *(f"-I{include}" for include in INCLUDES),
            *code,
        ]
        print(" ".join(command), flush=True)
        subprocess.run(command, check=True, cwd=ROOT)
        return str(output)


setup(
    ext_modules=[
        CppExtension(
            "neuralpatch_cuda._C",
            sources("cpu/*.cpp") + sources("bindings/*.cpp"),
            include_dirs=[str(ROOT / include) for include in INCLUDES],
            depends=sources("**/*.h") + sources("cuda/*.cu"),
            define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000"), ("TORCH_STABLE_ONLY", None)],
            extra_compile_args={
                "cxx": [
                    *("-std=c++17", "-O3", "-g0", "-fvisibility=hidden"),
                    *(f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={TORCH}=torch"),
                    *("-Wall", "-Wextra", "-Wno-unused-parameter"),
                    # Without these, selections and square roots would not be vectorised.
                    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
                ]
            },
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": Build},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
