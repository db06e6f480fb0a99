"""Which mask belongs to which photograph, by the names of files. No image is opened here.

Two rules, those of IOPaint and of LaMa:

    scans/a/1.tif    masks/a/1.png                     the same path below both folders, whatever the suffix
    scans/1.png      scans/1_mask.png                  in one tree, or below the folder of masks;
    scans/2.png      scans/2_mask001.png, ...          numbered masks make an output each, named after them
"""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from neuralpatch_cuda.batch.item import Item, as_text
from neuralpatch_cuda.config import InpaintConfig
from neuralpatch_cuda.errors import ConfigError
from neuralpatch_cuda.imaging.files import FORMATS
from neuralpatch_cuda.imaging.whole import differing_form, form, identity, other_form

SUFFIXES = {*FORMATS, ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga"}
"""Of the files in a folder that are taken for images."""

MASK_STEM = re.compile(r"(?P<photograph>.+)_mask(?P<number>\d*)", re.DOTALL)

Files = dict[PurePosixPath, Path]
"""By their path relative to the folder that they were found in."""


@dataclass
class Pairing:
    """What there is to do, and what does not fit together."""

    items: list[Item] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One sentence each."""


@dataclass(frozen=True)
class Rules:
    """How outputs are named and made, where a manifest does not say otherwise."""

    output: Path
    """The folder of the outputs."""
    config: InpaintConfig
    suffix: str | None = None
    """Of all outputs; by default the photograph's own, or .png where that format cannot be written."""
    quality: int | None = None
    """Of lossy outputs; see `files.write_image`."""

    def item(self, photograph: PurePosixPath, stem: str, image: Path, mask: Path) -> Item:
        """The output lies where the photograph does, with this stem."""
        own = photograph.suffix if photograph.suffix.lower() in FORMATS else ".png"
        path = str(photograph.with_name(stem + (self.suffix or own)))
        return Item(as_text(path), image, mask, self.output / path, self.config, self.quality)


def suffix_of(kind: str) -> str:
    """ "png", ".png" or "PNG" as ".png".

    Raises:
        ConfigError: it is no format that can be written.
    """
    suffix = "." + kind.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ConfigError(f"The format must be one of {', '.join(known[1:] for known in FORMATS)}, not {kind!r}.")
    return suffix


def pair_files(image: str, mask: str | None, rules: Rules) -> Pairing:
    """Pair photographs with masks by their names; see above.

    Args:
        image: a folder, a file, or a pattern such as `scans/**/*.tif`.
        mask: a folder; or a file, for all photographs; None: the masks lie beside the photographs.
        rules: for the outputs.

    Raises:
        ConfigError: there is no such folder or file.
    """
    pairing = Pairing()
    photographs = find_images(image, rules.output, pairing.problems)
    if mask is not None and os.path.isfile(mask):
        shared = Path(mask)
        pairing.items = [
            rules.item(name, name.stem, path, shared) for name, path in photographs.items() if path != shared
        ]
    else:
        if mask is None:
            found = photographs
            if os.path.isfile(image):
                found = find_images(os.path.dirname(image) or ".", rules.output, [])
            masks = {name: path for name, path in found.items() if MASK_STEM.fullmatch(name.stem)}
            photographs = {name: path for name, path in photographs.items() if name not in masks}
        else:
            masks = find_images(mask, rules.output, pairing.problems)
        _pair(photographs, masks, rules, pairing)
        if os.path.isdir(image):
            used = {item.mask for item in pairing.items}
            pairing.problems += [f"{path} has no photograph." for path in masks.values() if path not in used]
    if not photographs:
        pairing.problems.append(f"There is no image in {image}.")
    return without_conflicts(pairing)


def without_conflicts(pairing: Pairing) -> Pairing:
    """The same in the order of names, without items whose output would replace another's, a photograph or a mask.

    Outputs whose names differ in their Unicode form alone are one file to macOS.
    """
    files = {path for item in pairing.items for path in (item.image, item.mask)}
    inputs = {identity(path) for path in files} - {None}
    problems = list(pairing.problems)
    kept: dict[str, Item] = {}
    forms: dict[str, Item] = {}
    for item in sorted(pairing.items, key=lambda item: item.name):
        if item.name in kept:
            problems.append(f"{kept[item.name].image} and {item.image} would both be written to {item.output}.")
        elif form(item.name) in forms:
            other = forms[form(item.name)].output
            problems.append(f"The names of {other} and {item.output} differ in their Unicode form alone; rename one.")
        elif identity(item.output) in inputs:
            problems.append(f"{item.output} would replace a photograph or a mask; use another output folder.")
        else:
            kept[item.name] = forms[form(item.name)] = item
    return Pairing(list(kept.values()), problems)


def _pair(photographs: Files, masks: Files, rules: Rules, pairing: Pairing) -> None:
    by_path, by_photograph = defaultdict(list), defaultdict(list)
    by_form: dict[str, Path] = {}
    for name, path in masks.items():
        by_path[name.with_suffix("")].append(name)
        by_form[form(str(name.with_suffix("")))] = path
        if match := MASK_STEM.fullmatch(name.stem):
            photograph = name.with_name(match["photograph"])
            by_photograph[photograph].append((match["number"], name))
            by_form[form(str(photograph))] = path
    for name, path in photographs.items():
        bare = name.with_suffix("")
        found = [("", other) for other in by_path[bare] if masks[other] != path] or by_photograph[bare]
        if not found:
            pairing.problems.append(f"{path} has no mask{differing_form(path, by_form.get(form(str(bare))))}.")
        taken: dict[str, Path] = {}
        for number, other in found:
            if number in taken:
                pairing.problems.append(f"{path} has two masks of one name: {taken[number]} and {masks[other]}.")
                continue
            taken[number] = masks[other]
            pairing.items.append(rules.item(name, other.stem if number else name.stem, path, masks[other]))


def find_images(where: str, output: Path, problems: list[str]) -> Files:
    """The images in a folder, or that match a pattern, or the file itself; those in the output folder are left out."""
    if os.path.isfile(where):
        return {PurePosixPath(os.path.basename(where)): Path(where)}
    if os.path.isdir(where):
        root, paths = Path(where), _walk(where, output.resolve(), problems)
    elif glob.has_magic(where):
        root, paths = _match(where, output.resolve())
    else:
        raise ConfigError(f"There is no file or folder {where}{other_form(Path(where))}.")
    inside = root.resolve()
    files = {}
    for path in paths:
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if not path.resolve().is_relative_to(inside):
            problems.append(f"{path} is a link that leads out of {root}.")
        elif path.is_file():
            files[PurePosixPath(path.relative_to(root).as_posix())] = path
        else:
            problems.append(f"{path} is not a file.")
    return files


def _walk(root: str, output: Path, problems: list[str]) -> Iterator[Path]:
    """Every file below a folder, and every link; hidden folders and the outputs are left out."""

    def report(error: OSError) -> None:
        problems.append(f"Cannot read the folder {error.filename}: {error.strerror}.")

    for folder, folders, names in os.walk(root, onerror=report):
        below = {name: Path(folder, name) for name in sorted(folders) if not name.startswith(".")}
        problems += [
            f"{path} is a link that leads out of {root}."
            for path in below.values()
            if path.is_symlink() and not path.resolve().is_relative_to(Path(root).resolve())
        ]
        folders[:] = [name for name, path in below.items() if path.resolve() != output]
        yield from (Path(folder, name) for name in sorted(names))


def _match(pattern: str, output: Path) -> tuple[Path, Iterator[Path]]:
    """The folder in which a pattern's wildcards begin, and the files that match; the outputs are left out."""
    parts = Path(pattern).parts
    root = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    paths = map(Path, sorted(glob.glob(pattern, recursive=True)))
    return root, (path for path in paths if path.is_file() and output not in path.resolve().parents)
