"""Compiles every CUDA kernel for every supported GPU and prints what each one needs.

Needs nvcc, but no GPU. Fails on an error, on a compiler warning, and where a kernel spills registers.

    python tools/compile_kernels.py [--arch 80 90] [--file match_patches]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)\w*'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_WARNING = re.compile(r"\bwarning\b", re.IGNORECASE)


@dataclass
class Usage:
    """What ptxas reports for one kernel on one architecture. Shared memory is the static part only."""

    kernel: str
    architecture: int
    registers: int = 0
    shared: int = 0
    spilled: int = 0


def parse_usage(report: str) -> Iterator[Usage]:
    usage: Usage | None = None
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            usage = Usage(match[1], int(match[2]))
        elif usage and (match := _SPILLS.search(line)):
            usage.spilled += int(match[1]) + int(match[2])
        elif usage and (match := _USED.search(line)):
            usage.registers = int(match[1])
            if match := _SHARED.search(line):
                usage.shared = int(match[1])
            yield usage
            usage = None


def demangle(names: Sequence[str]) -> dict[str, str]:
    """Readable names, shortened; the mangled ones where no demangler is found."""
    filter_program = shutil.which("cu++filt") or shutil.which("c++filt")
    if filter_program is None or not names:
        return {name: name for name in names}
    result = subprocess.run([filter_program], input="\n".join(names), capture_output=True, text=True, check=True)
    noise = r"neuralpatch::cuda::|\(anonymous namespace\)::|<unnamed>::|\(int\)|^void "
    short = [re.sub(noise, "", line).split("(")[0] for line in result.stdout.splitlines()]
    return dict(zip(names, short, strict=True))


def compile_file(nvcc: str, source: Path, architectures: Sequence[int], output: Path) -> tuple[bool, str]:
    """Compiles one file for all architectures; success, and everything nvcc and ptxas said."""
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in architectures]
    options = ["-O3", "-std=c++17", f"-I{CSRC}", f"-I{CSRC / 'include'}", "-Xcompiler=-Wall,-Wextra,-fPIC"]
    reports = ["-Xptxas=-v", "--resource-usage"]
    command = [nvcc, "-c", str(source), "-o", str(output), *options, *reports, *targets]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode == 0, result.stdout + result.stderr


def print_table(usages: Sequence[Usage], architectures: Sequence[int]) -> None:
    names = demangle(sorted({usage.kernel for usage in usages}))
    cells = {(usage.kernel, usage.architecture): usage for usage in usages}
    width = max(len(name) for name in names.values())
    print(f"{'registers per thread':<{width}} " + "".join(f"{f'sm_{a}':>7}" for a in architectures) + "  shared bytes")
    for mangled, name in sorted(names.items(), key=lambda item: item[1]):
        row = [cells.get((mangled, arch)) for arch in architectures]
        counts = "".join(f"{usage.registers if usage else '-':>7}" for usage in row)
        shared = max(usage.shared for usage in row if usage)
        print(f"{name:<{width}} {counts} {shared:>13}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", type=int, nargs="+", default=list(ARCHITECTURES), help="compute capabilities")
    parser.add_argument("--file", nargs="+", help="names of the files to compile, without .cu; all by default")
    options = parser.parse_args(arguments)

    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc was not found: install the CUDA toolkit and put its bin folder on PATH.", file=sys.stderr)
        return 2
    sources = sorted(CSRC.glob("cuda/*.cu"))
    if options.file:
        sources = [source for source in sources if source.stem in options.file]

    usages: list[Usage] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            print(f"compiling {source.relative_to(ROOT)}", file=sys.stderr, flush=True)
            compiled, report = compile_file(nvcc, source, options.arch, Path(folder) / "kernel.o")
            if not compiled:
                failures.append(f"{source.name} does not compile:\n{report}")
                continue
            failures += [f"{source.name}: {line}" for line in report.splitlines() if _WARNING.search(line)]
            usages += parse_usage(report)
    spilling = [usage for usage in usages if usage.spilled]
    names = demangle(sorted({usage.kernel for usage in spilling}))
    failures += [f"{names[u.kernel]} spills {u.spilled} bytes on sm_{u.architecture}" for u in spilling]

    if usages:
        print_table(usages, options.arch)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
