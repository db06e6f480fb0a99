"""Fills the tables in documents from the committed results: `python -m benchmarks.documents`.

What stands between the lines `<!-- table NAME -->` and `<!-- end -->`, a table or nothing, is replaced by the table of
that name; see benchmarks/tables.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.tables import TABLES, markdown

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^<!-- table ", re.MULTILINE)
MARKED = re.compile(r"^(<!-- table (\S+) -->\n)(?:\|.*\n)*(?=<!-- end -->$)", re.MULTILINE)


def documents() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.md"))
    yield from sorted((ROOT / "docs").rglob("*.md"))
    yield ROOT / "benchmarks" / "results" / "README.md"


def filled(text: str) -> str:
    """The text with its tables as the results have them."""
    text, tables = MARKED.subn(lambda found: found[1] + markdown(TABLES[found[2]]()), text)
    if tables != len(MARK.findall(text)):
        raise ValueError("between <!-- table NAME --> and <!-- end --> there is something else than a table")
    return text


def main() -> None:
    for path in documents():
        before = path.read_text()
        if (after := filled(before)) != before:
            path.write_text(after)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
