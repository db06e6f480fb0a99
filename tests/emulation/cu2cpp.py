"""Rewrites what is CUDA C++ but not C++, so that g++ can compile a kernel against ``include/``.

``kernel<<<grid, block, shared, stream>>>(...)``, ``extern __shared__ T name[];`` and
``__shared__ T name[n];`` are rewritten in place. Line numbers stay as they are, so that messages of the
compiler and of the emulator point into the original file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_ALIGNMENT = r"(?:(?:__align__|alignas)\(\d+\)\s+)?"
_DYNAMIC_SHARED = re.compile(rf"extern\s+__shared__\s+{_ALIGNMENT}([\w:\s]+?)\s*(\w+)\s*\[\s*\]\s*;")
_STATIC_SHARED = re.compile(rf"(?<!\w)__shared__\s+{_ALIGNMENT}([\w:<>,\s]+?)\s+(\w+)((?:\s*\[[^\]]*\])*)\s*;")
_LAUNCH_DEFAULTS = ["1", "1", "0", "nullptr"]


def closing(text: str, start: int, opening: str, closing_: str) -> int:
    """Index just past the bracket that closes the one at ``text[start]``."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == opening) - (text[i] == closing_)
        if depth == 0:
            return i + 1
    raise ValueError(f"unclosed {opening!r} at offset {start}")


def split_arguments(text: str) -> list[str]:
    """Splits at the commas that no bracket encloses."""
    parts: list[str] = []
    depth = begin = 0
    for i, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[begin:i])
            begin = i + 1
    return [part.strip() for part in [*parts, text[begin:]]]


def callee_start(text: str, end: int) -> int:
    """Index where the kernel's name begins, template arguments included, that ends before ``text[end]``."""
    i = end
    while text[i - 1].isspace():
        i -= 1
    if text[i - 1] == ">":
        depth = 0
        while True:
            i -= 1
            depth += (text[i] == ">") - (text[i] == "<")
            if depth == 0:
                break
    while text[i - 1].isalnum() or text[i - 1] in "_:":
        i -= 1
    return i


def rewrite_launches(text: str) -> str:
    while (at := text.find("<<<")) >= 0:
        end = text.index(">>>", at)
        given = split_arguments(text[at + 3 : end])
        configuration = ", ".join(given + _LAUNCH_DEFAULTS[len(given) :])
        start = callee_start(text, at)
        arguments = text.index("(", end)
        after = closing(text, arguments, "(", ")")
        call = f"{text[start:at].strip()}{text[arguments:after]}"
        text = f"{text[:start]}emu::launch({configuration}, [&] {{ {call}; }}){text[after:]}"
    return text


def convert(source: str) -> str:
    """C++ for one CUDA source text."""
    source = _DYNAMIC_SHARED.sub(r"\1* \2 = emu::dynamic_shared<\1>();", source)
    source = _STATIC_SHARED.sub(r"auto& \2 = emu::static_shared<\1\3>([] {});", source)
    return rewrite_launches(source)


def convert_file(path: Path) -> str:
    return f'#line 1 "{path}"\n{convert(path.read_text())}'


if __name__ == "__main__":
    sys.stdout.write(convert_file(Path(sys.argv[1])))
