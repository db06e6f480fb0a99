"""Remove an object from the example photograph, and show how the hole was filled, scale by scale.

Writes demo/filled.png and demo/scales.png into the current folder.
"""

from pathlib import Path

from PIL import Image
from rich.progress import Progress

from neuralpatch_cuda import Inpainter
from neuralpatch_cuda.evaluation.figures import contact_sheet

HERE = Path(__file__).parent
OUT = Path("demo")


def main() -> None:
    photo, mask = Image.open(HERE / "photo.jpg"), Image.open(HERE / "mask.png")
    painter = Inpainter()
    with Progress() as bar:
        task = bar.add_task("filling", total=None)
        result = painter(
            photo,
            mask,
            return_info=True,
            callback=lambda p: bar.update(
                task,
                total=p.scales * p.iterations,
                completed=p.scale * p.iterations + p.iteration + 1,
                description=f"scale {p.scale + 1}/{p.scales}, loss {p.loss:.3f}",
            ),
        )

    OUT.mkdir(exist_ok=True)
    result.image.save(OUT / "filled.png")
    hole = photo.convert("RGB")
    hole.paste("magenta", mask=mask.convert("L"))
    scales = result.info.scales
    sheet = contact_sheet(
        [photo, hole, *(s.image for s in scales), result.image],
        [
            "photograph",
            "hole",
            *(f"scale {s.scale + 1}: {s.size[1]} x {s.size[0]} px" for s in scales),
            "filled",
        ],
        columns=3,
        tile=420,
    )
    sheet.save(OUT / "scales.png")
    print(f"filled in {result.info.seconds:.0f} s on {painter.device}")
    print(f"result: {OUT / 'filled.png'}")
    print(f"scales: {OUT / 'scales.png'}")


if __name__ == "__main__":
    main()
