"""Checks that a tag, the package, its citation and its changelog speak of the same version.

    python tools/check_release.py v1.2.3

Prints what is wrong, one sentence a line, and ends with exit code 1 then. Needs no package.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def version_in(text: str, pattern: str) -> str | None:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else None


def problems(tag: str) -> Iterator[str]:
    version = version_in((ROOT / "pyproject.toml").read_text(), r'^version = "(.+)"$')
    if tag != f"v{version}":
        yield f"The tag is {tag}, but pyproject.toml says version {version}."
    cited = version_in((ROOT / "CITATION.cff").read_text(), r"^version: (.+)$")
    if cited != version:
        yield f"CITATION.cff says version {cited}, pyproject.toml {version}."
    if f"\n## [{version}] - " not in (ROOT / "CHANGELOG.md").read_text():
        yield f"CHANGELOG.md has no section [{version}] with a date."


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tag", help="the tag of the release")
    found = list(problems(parser.parse_args(arguments).tag))
    for problem in found:
        print(problem, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
