"""Makes the comparison, the ablations and the pictures of the documents again: `python -m benchmarks.evidence`.

Everything is made of the photographs in examples/, but for the comparison on others' photographs, of which only the
figures are kept: `--pairs FOLDER`. A stopped run goes on. Figures go to benchmarks/results, pictures to docs/images;
`make evidence` then puts them into the documents.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from benchmarks import pictures, thin_holes
from benchmarks.committed import RESULTS
from benchmarks.pictures import IMAGES, PHOTOS, ROOT
from benchmarks.tables import COMPARED
from neuralpatch_cuda.evaluation.ablations import STUDIES, ablate
from neuralpatch_cuda.evaluation.cases import find_cases
from neuralpatch_cuda.evaluation.comparison import SHEET, SUMMARY, compare
from neuralpatch_cuda.evaluation.evaluate import Row
from neuralpatch_cuda.evaluation.methods import Method

SIDE = 512
"""Pixels, of the photographs that are compared; the hole is a centred square of half of it, as in the paper."""


def main(
    pairs: Annotated[Path | None, typer.Option(help="Folder of photographs to be compared on as well.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the fills.")] = ROOT / "build" / "evidence",
) -> None:
    photos = str(PHOTOS)
    compare_on(photos, out / "comparison")
    keep_picture(out / "comparison" / SHEET, IMAGES / "comparison.jpg")
    shutil.copy(out / "comparison" / SUMMARY, RESULTS / "comparison.json")
    studies(photos, out / "ablations")
    pictures.main()
    thin_holes.main(
        PHOTOS / "picosdeeuropa.jpg", RESULTS / "high-resolution-thin.json", picture=IMAGES / "scratches.jpg"
    )
    demo(out)
    if pairs is not None:
        compare_on(str(pairs), out / "pairs")
        shutil.copy(out / "pairs" / SUMMARY, RESULTS / "pairs.json")


def compare_on(photographs: str, folder: Path) -> None:
    cases = find_cases(photographs, None, "centre", SIDE, folder)
    for standing in compare(cases, [Method(name) for name in COMPARED], folder, "auto", told):
        print(standing.method, {name: round(each.mean, 2) for name, each in standing.measures.items()})


def studies(photographs: str, folder: Path) -> None:
    """All of them, with the pictures as JPEG, which is a tenth of the size."""
    tables = RESULTS / "ablations"
    tables.mkdir(exist_ok=True)
    for name in ablate(find_cases(photographs, None, "centre", SIDE, folder), list(STUDIES), folder, "auto", told):
        shutil.copy(folder / f"{name}.csv", tables / f"{name}.csv")
        keep_picture(folder / f"{name}.png", IMAGES / f"ablation-{name}.jpg")
        if STUDIES[name].swept:
            shutil.copy(folder / f"{name}-measures.png", IMAGES / f"ablation-{name}-measures.png")


def demo(folder: Path) -> None:
    """As a new user sees it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, ROOT / "examples" / "demo.py"], cwd=folder, env=environment, check=True)
    keep_picture(folder / "demo" / "scales.png", IMAGES / "demo.jpg")


def keep_picture(source: Path, target: Path) -> None:
    Image.open(source).save(target, quality=88)


def told(row: Row) -> None:
    print(row.method, row.photograph, row.error or f"{row.measures['seconds']:.1f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
