"""The site is built without a warning, and links lead somewhere, also where the documents are read as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from neuralpatch_cuda import InpaintConfig

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
if not (ROOT / "docs").is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", document.read_text())
    assert not [link for link in links if not (document.parent / link).exists()]


def test_site(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    reference, commands = ((tmp_path / page).read_text() for page in ("api/index.html", "command-line.html"))
    assert all(f'id="neuralpatch_cuda.InpaintConfig.{option}"' in reference for option in InpaintConfig.model_fields)
    assert 'id="neuralpatch-inpaint"' in commands and "--rematch-every" in commands
