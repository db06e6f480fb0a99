"""What files say beside their pixels: kept, or left out with a word, as the tables of docs/batch.md have it.

Files are made, and outputs looked at, byte by byte: another way than the library's.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin

from neuralpatch_cuda import cli
from neuralpatch_cuda.errors import ImageError
from neuralpatch_cuda.imaging.files import FORMATS, Photograph, check_writable, read_image, write_image
from neuralpatch_cuda.imaging.heif import Contents, read_contents

WIDTH, HEIGHT = 40, 32
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
DOCUMENT = Path(__file__).parents[2] / "docs" / "batch.md"
WARNING = " is written without the photograph's "


# Files made by hand


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*before: bytes, after: bytes = b"", depth: int = 8, kind: int = 2) -> bytes:
    """A PNG file of noise, with chunks before and after the pixels."""
    row = (WIDTH * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind] * depth + 7) // 8
    rows = np.random.default_rng(0).integers(0, 2 if kind == 3 else 256, (HEIGHT, 1 + row), dtype=np.uint8)
    rows[:, 0] = 0  # no filter
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + pixels + after + chunk(b"IEND", b"")


def chunks_of(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and data of a sound PNG file's chunks."""
    content, found, at = path.read_bytes(), [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert content[at + 8 + length : at + 12 + length] == struct.pack(">I", zlib.crc32(name + data))
        found.append((name, data))
        at += length + 12
    assert at == len(content) and found[0][0] == b"IHDR" and found[-1] == (b"IEND", b"")
    return found


def image(kind: str, size: tuple[int, int] | None = None, **options: object) -> bytes:
    file = BytesIO()
    picture = Image.fromarray(PIXELS)
    (picture.resize(size) if size else picture).save(file, kind, **options)
    return file.getvalue()


JPEG = image("JPEG")
SMALL = image("JPEG", (8, 8))
"""Another picture, of which nothing may be found in an output."""


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg(*segments: bytes, after: bytes = b"") -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:] + after


def segments_of(path: Path) -> list[tuple[int, bytes]]:
    """Markers and content of a JPEG file's segments before the pixels."""
    content, found, at = path.read_bytes(), [], 2
    while content[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", content, at + 2)
        found.append((content[at + 1], content[at + 4 : at + 2 + length]))
        at += 2 + length
    assert content.endswith(b"\xff\xd9")
    return found


def xmp(inside: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="kept" {inside}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def xmp_segment(inside: str) -> bytes:
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(inside))


def pictures(*kinds: int) -> bytes:
    """A JPEG file that is followed by other pictures, of these kinds (CIPA DC-007)."""

    def index(offset: int) -> bytes:
        entries = struct.pack("<LLLHH", 0x20030000, len(JPEG), 0, 0, 0)
        for number, kind in enumerate(kinds):
            entries += struct.pack("<LLLHH", kind, len(SMALL), offset + number * len(SMALL), 0, 0)
        tags = struct.pack("<HHHL4s", 3, 0xB000, 7, 4, b"0100")
        tags += struct.pack("<HHLL", 0xB001, 4, 1, len(kinds) + 1)
        tags += struct.pack("<HHLLL", 0xB002, 7, len(entries), 50, 0)
        return segment(0xE2, b"MPF\0II*\0" + struct.pack("<L", 8) + tags + entries)

    first = jpeg(index(0))
    return jpeg(index(len(first) - first.index(b"MPF\0") - 4)) + SMALL * len(kinds)


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    """A Photoshop resource."""
    title = bytes([len(name)]) + name
    parts = [b"8BIM", struct.pack(">H", number), title, bytes(len(title) % 2), struct.pack(">I", len(data)), data]
    return b"".join(parts) + bytes(len(data) % 2)


def photoshop(*resources: bytes) -> bytes:
    return segment(0xED, b"Photoshop 3.0\0" + b"".join(resources))


IPTC = b"\x1c\x02\x05\x00\x05Title\x1c\x02\x78\x00\x07Caption"
CLIPPING = resource(2000, bytes(26), b"Path 1")


def exif(**tags: object) -> bytes:
    data = Image.Exif()
    details = data.get_ifd(ExifTags.IFD.Exif)
    data[ExifTags.Base.Make] = "Maker"
    for name, value in tags.items():
        details[ExifTags.Base[name]] = value
    return data.tobytes()


def tiff(*tags: tuple[int, int, object]) -> bytes:
    """A TIFF file with tags of these numbers, types and values."""
    own = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in tags:
        own.tagtype[tag] = kind
        own[tag] = value
    return image("TIFF", tiffinfo=own)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file with more chunks."""
    plain = image("WEBP", lossless=True)[12:]
    sides = struct.pack("<II", WIDTH - 1, HEIGHT - 1)
    wide = b"VP8X" + struct.pack("<II", 10, 0) + sides[:3] + sides[4:7]
    body = b"WEBP" + wide + plain + b"".join(k + struct.pack("<I", len(d)) + d + bytes(len(d) % 2) for k, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data) + 8, kind) + data


def avif(codes: tuple[int, int]) -> bytes:
    """An AVIF file that tells its colour space by these numbers."""
    content = image("AVIF")
    at = content.index(b"colrnclx") + 8
    return content[:at] + struct.pack(">HH", *codes) + content[at + 4 :]


AVIF = image("AVIF")
GIF = image("GIF")
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def bmp(header: bytes, profile: bytes = b"") -> bytes:
    """A BMP file of 8 x 4 px with a header of 108 or 124 bytes, of which this is the end, from the colour space on."""
    size, pixels = 56 + len(header), bytes(8 * 3 * 4)
    start = struct.pack("<IiiHHIIiiII", size, 8, 4, 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0)
    whole = 14 + size + len(pixels)
    return b"BM" + struct.pack("<IHHI", whole, 0, 0, 14 + size) + start + masks + header + pixels + profile


# What is found in outputs


def written(source: bytes, suffix: str, target: Path) -> list[str]:
    """Bring a file of some content into another one, as the command line does; gives the warnings."""
    path = target.parent / f"source{suffix}"
    path.write_bytes(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        photograph = read_image(path)
        check_writable(target, photograph)
        beforehand = len(caught)
        write_image(photograph, target)
    sentences = [str(each.message) for each in caught]
    assert len(sentences) == beforehand, "that was to be told before the work"
    assert all(re.fullmatch(r"[^\n]*(source|out)[.\w]+ [^\n]*[^.]\.", sentence) for sentence in sentences)
    assert sum(WARNING in sentence for sentence in sentences) <= 1
    with Image.open(target) as opened:
        opened.load()
    return sentences


def exif_of(path: Path) -> Image.Exif:
    with Image.open(path) as opened:
        exif = opened.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
    return exif


def info(name: str, expected: object) -> Callable[[Path], bool]:
    def found(path: Path) -> bool:
        with Image.open(path) as opened:
            return opened.info.get(name) == expected

    return found


def resolution(path: Path) -> bool:
    with Image.open(path) as opened:
        tags = opened.getexif()
        dpi = opened.info.get("dpi") or [
            tags.get(tag) for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution)
        ]
    return bool(dpi == pytest.approx((240, 240), abs=0.1))


def inside_photoshop(data: bytes) -> Callable[[Path], bool]:
    """Whether a file has these bytes among its IPTC data and Photoshop's resources."""

    def found(path: Path) -> bool:
        if path.suffix == ".png":
            texts = [
                data for name, data in chunks_of(path) if name == b"zTXt" and data.startswith(b"Raw profile type 8bim")
            ]
            held = b"".join(
                bytes.fromhex(zlib.decompress(text.partition(b"\0")[2][1:]).split(b"\n", 3)[3].decode())
                for text in texts
            )
        elif path.suffix == ".jpg":
            held = b"".join(data for marker, data in segments_of(path) if marker == 0xED)
        else:
            with Image.open(path) as opened:
                tags = opened.tag_v2 if path.suffix == ".tif" else {}
                held = bytes(tags.get(33723, b"")) + bytes(tags.get(34377, b""))
        return data in held

    return found


def comment(path: Path) -> bool:
    text = "für alle".encode()
    if path.suffix == ".png":
        return (b"iTXt", b"Comment\0\0\0\0\0" + text) in chunks_of(path)
    return path.suffix == ".jpg" and (0xFE, text) in segments_of(path)


def has_chunk(name: bytes, data: bytes) -> Callable[[Path], bool]:
    return lambda path: path.suffix == ".png" and chunks_of(path).count((name, data)) == 1


def has_segment(marker: int, data: bytes) -> Callable[[Path], bool]:
    return lambda path: path.suffix == ".jpg" and segments_of(path).count((marker, data)) == 1


def codes(path: Path) -> bool:
    if path.suffix == ".avif":
        return b"colrnclx\0\x09\0\x10" in path.read_bytes()
    return has_chunk(b"cICP", bytes((9, 16, 0, 1)))(path)


@dataclass
class Source:
    """A file that holds something."""

    suffix: str
    content: bytes
    found: Callable[[Path], bool]
    """Whether an output still has it."""
    word: str
    """What a warning calls it."""


def of_png(name: bytes, data: bytes, word: str, late: bool = False) -> Iterator[tuple[str, Source]]:
    """A chunk in files of 8 and of 16 bits."""
    for depth in (8, 16):
        own = chunk(name, data)
        content = png(after=own, depth=depth) if late else png(own, depth=depth)
        yield f"{name.decode()} of {depth} bits", Source(".png", content, has_chunk(name, data), word)


PROFILE_AS_TEXT = b"Raw profile type icc\0\nicc\n0\n" + PROFILE.hex().encode()
AS_INTEGERS = tiff((33723, 7, IPTC + b"\0\0")).replace(
    struct.pack("<HHL", 33723, 7, 24), struct.pack("<HHL", 33723, 4, 6)
)
"""IPTC data as Photoshop itself writes them."""
CODES = bytes((9, 16, 0, 1))
PRIMARIES = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
GEO = (33550, 12, (0.5, 0.5, 0.0))
KEPT: dict[str, dict[str, Source]] = {
    "ICC profile": {
        kind: Source(suffix, content, info("icc_profile", PROFILE), "ICC profile")
        for kind, suffix, content in (
            ("PNG", ".png", png(chunk(b"iCCP", b"name\0\0" + zlib.compress(PROFILE)))),
            (
                "PNG, as a text",
                ".png",
                png(chunk(b"tEXt", PROFILE_AS_TEXT)),
            ),
            ("TIFF", ".tif", image("TIFF", icc_profile=PROFILE)),
            ("JPEG", ".jpg", image("JPEG", icc_profile=PROFILE)),
            ("BMP", ".bmp", bmp(b"DEBM" + bytes(48) + struct.pack("<4I", 4, 220, len(PROFILE), 0), PROFILE)),
        )
    },
    "EXIF data": {
        kind: Source(
            suffix,
            content,
            lambda path: exif_of(path).get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.MakerNote) == b"secret",
            "EXIF data",
        )
        for kind, suffix, content in (
            ("PNG", ".png", png(chunk(b"eXIf", exif(MakerNote=b"secret")[6:]), depth=16)),
            ("JPEG", ".jpg", image("JPEG", exif=exif(MakerNote=b"secret"))),
            ("WebP", ".webp", image("WEBP", exif=exif(MakerNote=b"secret"))),
        )
    },
    "XMP data": {
        kind: Source(suffix, content, info("xmp", xmp(">")), "XMP data")
        for kind, suffix, content in (
            ("PNG", ".png", png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(">")), depth=16)),
            ("JPEG", ".jpg", image("JPEG", xmp=xmp(">"))),
            ("AVIF", ".avif", image("AVIF", xmp=xmp(">"))),
        )
    },
    "resolution": {
        "PNG": Source(".png", png(chunk(b"pHYs", struct.pack(">IIB", 9449, 9449, 1))), resolution, "-"),
        "JPEG": Source(".jpg", image("JPEG", dpi=(240, 240)), resolution, "-"),
        "BMP": Source(".bmp", image("BMP", dpi=(240, 240)), resolution, "-"),
    },
    "IPTC data": {
        "JPEG": Source(".jpg", jpeg(photoshop(resource(1028, IPTC))), inside_photoshop(IPTC), "IPTC data"),
        "TIFF": Source(".tif", tiff((33723, 7, IPTC)), inside_photoshop(IPTC), "IPTC data"),
        "TIFF, as integers": Source(".tif", AS_INTEGERS, inside_photoshop(IPTC), "IPTC data"),
        "PNG": Source(
            ".png",
            png(chunk(b"tEXt", b"Raw profile type iptc\0\niptc\n      22\n" + IPTC.hex().encode() + b"\n"), depth=16),
            inside_photoshop(IPTC),
            "IPTC data",
        ),
    },
    "other resources of Photoshop": {
        "JPEG": Source(".jpg", jpeg(photoshop(CLIPPING)), inside_photoshop(CLIPPING), "Photoshop resources"),
        "TIFF": Source(".tif", tiff((34377, 7, CLIPPING)), inside_photoshop(CLIPPING), "Photoshop resources"),
    },
    "TIFF tags": {
        "GeoTIFF": Source(
            ".tif", tiff(GEO, (65000, 2, "own")), lambda path: exif_of(path).get(GEO[0]) == GEO[2], "EXIF data"
        ),
        "private": Source(".tif", tiff((65000, 2, "own")), lambda path: exif_of(path).get(65000) == "own", "EXIF data"),
        "description": Source(
            ".tif", tiff((270, 2, "a cat")), lambda path: exif_of(path).get(270) == "a cat", "EXIF data"
        ),
    },
    "comments": {
        "JPEG": Source(".jpg", jpeg(segment(0xFE, "für alle".encode()), segment(0xFE, b"2")), comment, "comment"),
        "GIF": Source(".gif", GIF[:-1] + b"!\xfe\x05f\xc3\xbcr \x04alle\0;", comment, "comment"),
        "PPM": Source(".ppm", "P6\n# für alle\n2 2\n255\n".encode() + bytes(12), comment, "comment"),
        "TGA": Source(".tga", image("TGA", id_section="für alle".encode()), comment, "comment"),
    },
    "other segments": {
        "APP12": Source(
            ".jpg", jpeg(segment(0xEC, b"Ducky\0x")), has_segment(0xEC, b"Ducky\0x"), "segment APP12 Ducky"
        ),
        "APP4": Source(".jpg", jpeg(segment(0xE4, b"own\0data")), has_segment(0xE4, b"own\0data"), "segment APP4 own"),
        "APP0": Source(".jpg", jpeg(segment(0xE0, b"AVI1\0")), has_segment(0xE0, b"AVI1\0"), "segment APP0 AVI1"),
    },
    "texts of PNG files": {
        **dict(of_png(b"tEXt", b"Title\0A cat", "text (Title)")),
        **dict(of_png(b"zTXt", b"Author\0\0" + zlib.compress(b"Me"), "text (Author)", late=True)),
        **dict(of_png(b"iTXt", "Note\0\0\0de\0Notiz\0für".encode(), "text (Note)", late=True)),
    },
    "colour space by its numbers": {
        **{
            name: Source(".png", each.content, codes, each.word)
            for name, each in of_png(b"cICP", CODES, "colour space")
        },
        "nclx": Source(".avif", avif((9, 16)), codes, "colour space"),
    },
    "gamma and primaries": {
        **dict(of_png(b"gAMA", struct.pack(">I", 100_000), "gamma (gAMA)")),
        **dict(of_png(b"cHRM", PRIMARIES, "primaries (cHRM)")),
    },
    "sRGB of PNG files": dict(of_png(b"sRGB", b"\1", "-")),
    "brightness": {
        **dict(of_png(b"mDCV", bytes(range(24)), "brightness (mDCV)")),
        **dict(of_png(b"cLLI", bytes(range(8)), "brightness (cLLI)")),
    },
    "background": {
        **dict(of_png(b"bKGD", bytes(range(6)), "background (bKGD)")),
        **dict(of_png(b"sBIT", b"\5\6\5", "significant bits (sBIT)")),
        **dict(of_png(b"sPLT", b"name\0\x08" + bytes(6), "palette (sPLT)")),
        **dict(of_png(b"tIME", struct.pack(">H5B", 2020, 1, 2, 3, 4, 5), "time of change (tIME)", late=True)),
        **dict(of_png(b"pHYs", struct.pack(">IIB", 2, 1, 0), "shape of pixels (pHYs)")),
    },
    "other chunks": {
        **dict(of_png(b"oFFs", struct.pack(">iiB", 3, 4, 0), "chunk oFFs")),
        **dict(of_png(b"owNs", b"own", "chunk owNs", late=True)),
    },
}
"""By the beginnings of the rows in the document."""


def table(head: str) -> list[list[str]]:
    """The rows of the document's table whose head begins like this, the head first."""
    lines = DOCUMENT.read_text().split(f"\n| {head} |")[1].split("\n\n")[0]
    rows = f"| {head} |{lines}".splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in (rows[0], *rows[2:])]


def row_of(name: str, rows: list[list[str]]) -> list[str]:
    (row,) = [row for row in rows if row[0].startswith(name)]
    return row


SUFFIX_OF = {"PNG": ".png", "TIFF": ".tif", "JPEG": ".jpg", "WebP": ".webp", "AVIF": ".avif", "BMP": ".bmp"}


def test_the_document_has_every_format_and_every_row_is_tested() -> None:
    head, *rows = table("of the photograph")
    assert head[1:] == list(SUFFIX_OF)
    assert {FORMATS[suffix][0] for suffix in SUFFIX_OF.values()} == {kind for kind, _ in FORMATS.values()}
    assert len({row_of(name, rows)[0] for name in KEPT}) == len(rows) == len(KEPT)
    for name, sources in KEPT.items():
        chunks = re.findall(r"\b[a-z]+[A-Z]\w*", row_of(name, rows)[0].partition("(")[2].partition(")")[0])
        assert all(any(chunk in source for source in sources) for chunk in chunks), row_of(name, rows)[0]


@pytest.mark.parametrize("target", SUFFIX_OF)
@pytest.mark.parametrize("name", KEPT)
def test_what_stays_of_a_file(name: str, target: str, tmp_path: Path) -> None:
    head, *rows = table("of the photograph")
    claim = row_of(name, rows)[head.index(target)]
    for which, source in KEPT[name].items():
        deep = which.endswith(" of 16 bits") or source.content[24:26] == b"\x10\2"
        if deep and target not in ("PNG", "TIFF"):
            continue
        if deep:
            pytest.importorskip("pyvips")
        path = tmp_path / f"out{SUFFIX_OF[target]}"
        told = written(source.content, source.suffix, path)
        lost = [sentence for sentence in told if WARNING in sentence and source.word in sentence]
        assert (source.found(path), len(lost)) == {"stays": (True, 0), "warning": (False, 1), "-": (False, 0)}[claim], (
            which
        )
        if claim != "warning":
            assert told == [], which


# What no output has

HDR = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'
LIST = (
    'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"><Container:Directory><rdf:Seq>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="9"/></rdf:li>'
    "</rdf:Seq></Container:Directory>"
)
ISO = segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
GOOGLE = "http://ns.google.com/photos/1.0"
GAIN_MAPS = {
    "attribute": jpeg(xmp_segment(f'{HDR} hdrgm:Version="1.0" {LIST}'), after=SMALL),
    "other quotes": jpeg(xmp_segment(f"{HDR} hdrgm:Version = '1.0' {LIST}"), after=SMALL),
    "element": jpeg(xmp_segment(f"{HDR} {LIST}<hdrgm:Version>1.0</hdrgm:Version>"), after=SMALL),
    "another prefix": jpeg(xmp_segment(f"{HDR} hdrgm:Version='1.0' {LIST}".replace("hdrgm", "g")), after=SMALL),
    "ISO 21496-1 alone": jpeg(ISO, after=SMALL),
    "ISO 21496-1 with an index": pictures(0).replace(JPEG[2:20], ISO + JPEG[2:20], 1),
}
FORBIDDEN = [b"hdrgm", b"hdr-gain-map", b"GainMap", b"Directory", b"21496", b"MPF\0"]


@pytest.mark.parametrize("target", [".jpg", ".png"])
@pytest.mark.parametrize("which", GAIN_MAPS)
def test_gain_maps_and_what_announces_them(which: str, target: str, tmp_path: Path) -> None:
    told = written(GAIN_MAPS[which], ".jpg", tmp_path / f"out{target}")
    assert len(told) == 1 and "gain map" in told[0]
    content = (tmp_path / f"out{target}").read_bytes()
    assert not [word for word in FORBIDDEN if word in content]
    assert SMALL[-40:] not in content and content.count(b"\xff\xd8\xff") == (target == ".jpg")
    assert (b'dc:format="kept"' in content) == (b"dc:format" in GAIN_MAPS[which])


PICTURE = exif(MakerNote=b"Olympus\0" + SMALL)
DROPPED: dict[str, list[tuple[str, bytes, str]]] = {
    "gain maps": [(".jpg", content, "gain map") for content in GAIN_MAPS.values()],
    "frames, pages": [
        (".gif", image("GIF", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), "has 2 frames"),
        (".png", image("PNG", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), "has 2 frames"),
        (".tif", image("TIFF", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), "has 2 frames"),
        (".webp", image("WEBP", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))]), "has 2 frames"),
        (".jpg", pictures(0x20002, 0x20002), "has 3 frames"),
    ],
    "pictures of other sizes": [
        (".tif", tiff((330, 4, 8)), "pictures of other sizes (SubIFDs)"),
        (".tif", tiff((37724, 7, b"Adobe Photoshop Document Data Block\0")), "Photoshop layers"),
    ],
    "depth maps": [
        (".jpg", jpeg(xmp_segment(f'xmlns:GDepth="{GOOGLE}/depthmap/" GDepth:Data="AAAA">')), "depth map"),
        (".jpg", jpeg(xmp_segment(f"xmlns:D='{GOOGLE}/depthmap/'><D:Data>AA</D:Data>")), "depth map"),
        (".jpg", jpeg(xmp_segment(f'xmlns:GImage="{GOOGLE}/image/" GImage:Data="AAAA">')), "picture in its XMP data"),
        (".jpg", jpeg(xmp_segment(f'xmlns:GAudio="{GOOGLE}/audio/" GAudio:Data="AAAA">')), "sound"),
    ],
    "extended XMP data": [
        (".jpg", jpeg(segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(40))), "extended XMP data"),
    ],
    "thermal, HDR": [
        (".jpg", jpeg(segment(0xE1, b"FLIR\0\1\0\0")), "thermal picture"),
        (".jpg", jpeg(segment(0xEB, b"HDR_RI ver=11")), "HDR picture"),
        (".jpg", jpeg(segment(0xE2, b"FPXR\0\1")), "FlashPix data"),
    ],
    "videos and other data": [
        (".jpg", jpeg(after=b"\0\0\0\x18ftypmp42" + bytes(99)), "video (motion photo)"),
        (
            ".jpg",
            jpeg(xmp_segment(f"xmlns:C='{GOOGLE}/camera/' C:MotionPhoto='1'>"), after=b"\0\0\0\x18ftypisom"),
            "video",
        ),
        (".jpg", pictures(0x10001) + b"\0\0\0\x18ftypqt  ", "video (motion photo)"),
        (".jpg", jpeg(after=b"SEFH1234SEFT"), "data after its end"),
        (".png", png() + b"SEFH1234SEFT", "data after its end"),
        (".png", png() + b"\0\0\0\x18ftypmp42" + bytes(99), "video (motion photo)"),
        (".png", png() + SMALL, "data after its end"),
        (".webp", riff() + b"PK\3\4 an archive", "data after its end"),
        (".gif", GIF + b"more", "data after its end"),
    ],
    "damaged ICC profiles and EXIF": [
        (".jpg", jpeg(segment(0xE2, b"ICC_PROFILE\0\1\2" + PROFILE[:200])), "damaged ICC profile"),
        (".png", png(chunk(b"iCCP", b"name\0\0" + PROFILE[:200])), "damaged ICC profile"),
        (".png", png(chunk(b"iCCP", b"name\0\0" + zlib.compress(b""))), "damaged ICC profile"),
        (".jpg", jpeg(segment(0xE1, b"Exif\0\0" + bytes(8) + b"no TIFF file")), "damaged EXIF data"),
        (".jpg", jpeg(segment(0xE1, b"Exif\0\0XX\0*\0\0\0\x08\0\1\1\x0f")), "damaged EXIF data"),
        (".png", png(chunk(b"eXIf", b"this is not a TIFF file")), "damaged EXIF data"),
    ],
    "signed statements": [
        (".jpg", jpeg(*[segment(0xEB, b"JP\0\1\0\0\0" + bytes([part]) + b"c2pa") for part in (1, 2)]), "(C2PA)"),
        (".png", png(chunk(b"caBX", b"c2pa")), "(C2PA)"),
        (".webp", riff((b"C2PA", b"c2pa1")), "(C2PA)"),
        (".avif", AVIF + box(b"uuid", C2PA + bytes(9)), "(C2PA)"),
    ],
    "segments (APPn)": [
        (".jpg", jpeg(segment(0xE5, b"Preview\0" + SMALL)), "segment APP5 Preview"),
        (
            ".jpg",
            jpeg(segment(0xE3, b"raw\0" + bytes(40_000)), segment(0xE3, b"raw\0" + bytes(40_000))),
            "segment APP3 raw",
        ),
        (".jpg", jpeg(segment(0xE6, b"P\0" + SMALL[:99]), segment(0xE6, b"P\0" + SMALL[99:])), "segment APP6 P"),
    ],
    "EXIF data": [
        (".jpg", image("JPEG", exif=PICTURE), "EXIF data MakerNote, which hold a picture"),
        (".png", image("PNG", exif=PICTURE), "EXIF data MakerNote, which hold a picture"),
        (".tif", tiff((65000, 7, SMALL)), "EXIF data 65000, which hold a picture"),
    ],
    "chunks that may not be copied": [
        (".png", png(chunk(b"prVW", b"preview")), "chunk prVW"),
        (".png", png(chunk(b"owNs", SMALL)), "chunk owNs"),
        (".png", png(chunk(b"OWNS", b"critical")), "chunk OWNS"),
        (".png", png(chunk(b"OWNs", b"critical")), "chunk OWNs"),
        (".png", png(chunk(b"tEXt", b"XML:com.adobe.xmp\0<x/>")), "text (XML:com.adobe.xmp)"),
        (".png", png(chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(b"<x/>"))), "text (XML:com.adobe.xmp)"),
        (".png", png(chunk(b"dSIG", b"signature")), "signature (dSIG)"),
        (".png", png(chunk(b"PLTE", bytes(6)), chunk(b"hIST", bytes(4)), kind=3), "histogram (hIST)"),
    ],
    "chunks, items, boxes": [
        (".webp", riff((b"ABCD", b"own")), "chunk ABCD"),
        (".gif", GIF[:-1] + b"!\xff\x0bICCRGBG1012\x02ab\0;", "data of ICCRGBG1012"),
        (".jp2", image("JPEG2000") + box(b"xml ", b"<x/>"), "box xml"),
        (".avif", AVIF + box(b"sefd", b"Samsung"), "box sefd"),
        (".avif", AVIF + box(b"uuid", bytes(20)), "box uuid"),
    ],
    "colour spaces of BMP": [
        (".bmp", bmp(bytes(4) + struct.pack("<9I", *range(9)) + struct.pack("<3I", 1, 1, 1)), "colour space"),
        (".tga", image("TGA") + struct.pack("<II", 18, 0) + b"TRUEVISION-XFILE.\0", "extension areas"),
    ],
    "bits beyond 8": [
        (".ppm", b"P6\n2 2\n65535\n" + bytes(24), "has 16 bits per channel, of which 8 are read"),
        (".ppm", b"P3 1 1 # few\n1023\n1 2 1000\n", "has 10 bits per channel, of which 8 are read"),
        (".sgi", struct.pack(">hBBHHHH500x", 474, 0, 2, 3, 2, 2, 3) + bytes(24), "has 16 bits per channel"),
    ],
}
"""By the beginnings of the rows: suffix, content, and what a warning says."""


@pytest.mark.parametrize("row", [row[0] for row in table("left out with a warning")[1:]])
def test_what_is_left_out_with_a_warning(row: str, tmp_path: Path) -> None:
    (name,) = [name for name in DROPPED if row.startswith(name)]
    for index, (suffix, content, words) in enumerate(DROPPED[name]):
        own = suffix if suffix in FORMATS else ".png"
        told = written(content, suffix, tmp_path / f"out{own}")
        assert len(told) == 1 and words in told[0], (index, told)
        output = (tmp_path / f"out{own}").read_bytes()
        assert SMALL[-40:] not in output and b"MotionPhoto" not in output and b"AAAA" not in output


def test_every_row_of_what_is_left_out_is_there() -> None:
    assert len(table("left out with a warning")) == len(DROPPED) + 1
    assert len(table("left out without a word")) == len(SILENT) + 1


def with_thumbnail() -> bytes:
    """EXIF data whose second directory is a JPEG file."""
    first = struct.pack("<HHHLL", 1, 0x10F, 2, 4, int.from_bytes(b"Me\0\0", "little")) + struct.pack("<L", 26)
    second = struct.pack("<HHHLLHHLLL", 2, 513, 4, 1, 56, 514, 4, 1, len(SMALL), 0)
    return b"Exif\0\0II*\0" + struct.pack("<L", 8) + first + second + SMALL


SILENT: dict[str, list[tuple[str, bytes]]] = {
    "thumbnails in EXIF": [
        (".jpg", jpeg(segment(0xE1, with_thumbnail()))),
        (".jpg", jpeg(segment(0xE0, b"JFXX\0\x10" + SMALL))),
        (".jpg", jpeg(photoshop(resource(1036, bytes(28) + SMALL)))),
        (".tif", tiff((34377, 7, resource(1033, bytes(28) + SMALL)))),
        (".jpg", jpeg(xmp_segment("xmlns:xmp='http://ns.adobe.com/xap/1.0/'><xmp:Thumbnails>AAAA</xmp:Thumbnails>"))),
        (".png", png(chunk(b"eXIf", with_thumbnail()[6:]))),
    ],
    "previews of cameras": [(".jpg", pictures(0x10001)), (".jpg", pictures(0x10002, 0x10001))],
    "how the file was laid out": [
        (".png", png(chunk(b"iDOT", bytes(28)))),
        (".jpg", jpeg(segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"))),
        (".jpg", jpeg(after=bytes(2048))),
        (".tif", image("TIFF", compression="tiff_lzw")),
        (".png", png(chunk(b"PLTE", bytes(6)), kind=3)),
    ],
}


@pytest.mark.parametrize("row", [row[0] for row in table("left out without a word")[1:]])
def test_what_is_left_out_without_a_word(row: str, tmp_path: Path) -> None:
    (name,) = [name for name in SILENT if row.startswith(name)]
    for suffix, content in SILENT[name]:
        assert written(content, suffix, tmp_path / f"out{suffix}") == []
        output = (tmp_path / f"out{suffix}").read_bytes()
        assert SMALL[-40:] not in output and b"AAAA" not in output


# PNG chunks that mean something else once the pixels are of another kind


@pytest.mark.parametrize(
    ("kind", "depth", "before", "expected"),
    [
        (0, 1, [(b"sBIT", b"\1"), (b"bKGD", b"\0\1")], [(b"sBIT", b"\1\1\1"), (b"bKGD", b"\0\xff\0\xff\0\xff")]),
        (0, 2, [(b"sBIT", b"\2"), (b"bKGD", b"\0\1")], [(b"sBIT", b"\2"), (b"bKGD", b"\0\x55")]),
        (0, 4, [(b"bKGD", b"\0\x0f")], [(b"bKGD", b"\0\xff")]),
        (3, 8, [(b"PLTE", bytes(range(6))), (b"bKGD", b"\1")], [(b"bKGD", b"\0\3\0\4\0\5")]),
        (
            3,
            8,
            [(b"sBIT", b"\5\6\5"), (b"PLTE", bytes(6)), (b"tRNS", b"\0")],
            [(b"sBIT", b"\5\6\5\x08")],
        ),
        (2, 8, [(b"sBIT", b"\5\5\5"), (b"tRNS", bytes(6))], [(b"sBIT", b"\5\5\5\x08")]),
        (0, 16, [(b"sBIT", b"\x0c"), (b"tRNS", bytes(2))], [(b"sBIT", b"\x0c\x10")]),
        (4, 16, [(b"sBIT", b"\x0c\x0c"), (b"bKGD", b"\1\2")], [(b"sBIT", b"\x0c\x0c"), (b"bKGD", b"\1\2")]),
    ],
)
def test_significant_bits_and_background_of_every_kind(
    kind: int, depth: int, before: list[tuple[bytes, bytes]], expected: list[tuple[bytes, bytes]], tmp_path: Path
) -> None:
    if depth == 16:
        pytest.importorskip("pyvips")
    content = png(*(chunk(*each) for each in before), depth=depth, kind=kind)
    assert written(content, ".png", tmp_path / "out.png") == []
    assert [each for each in chunks_of(tmp_path / "out.png") if each[0] in (b"sBIT", b"bKGD")] == expected


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\x09\5\5", b"\5"])
def test_chunks_that_are_wrong_are_left_out(data: bytes, tmp_path: Path) -> None:
    (told,) = written(png(chunk(b"sBIT", data)), ".png", tmp_path / "out.png")
    assert told.endswith("significant bits (sBIT).")


@pytest.mark.parametrize("depth", [8, 16])
def test_chunks_stay_in_their_order_and_on_their_side_of_the_pixels(depth: int, tmp_path: Path) -> None:
    if depth == 16:
        pytest.importorskip("pyvips")
    own = [chunk(b"tEXt", b"A\0a"), chunk(b"tEXt", b"A\0b"), chunk(b"owNs", b"1"), chunk(b"owNs", b"2")]
    after = chunk(b"owNs", b"3") + chunk(b"tEXt", b"A\0c")
    once = [chunk(b"gAMA", struct.pack(">I", 100_000))] * 2
    assert written(png(*own, *once, after=after, depth=depth), ".png", tmp_path / "out.png") == []
    names = [data if name in (b"tEXt", b"owNs") else name for name, data in chunks_of(tmp_path / "out.png")]
    assert names == [b"IHDR", b"A\0a", b"A\0b", b"1", b"2", b"gAMA", b"IDAT", b"3", b"A\0c", b"IEND"]


def test_a_profile_goes_before_srgb(tmp_path: Path) -> None:
    profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(PROFILE))
    assert written(png(chunk(b"sRGB", b"\0"), profile), ".png", tmp_path / "out.png") == []
    assert [name for name, _ in chunks_of(tmp_path / "out.png")] == [b"IHDR", b"iCCP", b"IDAT", b"IEND"]
    assert written(png(profile, chunk(b"gAMA", bytes(4))), ".png", tmp_path / "out.jpg") == []


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", struct.pack(">I", 45455))],
        [
            (b"gAMA", struct.pack(">I", 45450)),
            (b"cHRM", struct.pack(">8I", *(31270, 32900, 64000), *(33000, 30000, 60000), 15000, 6000)),
        ],
        [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 50_000))],
        [(b"cICP", bytes((1, 13, 0, 1)))],
        [(b"pHYs", struct.pack(">IIB", 1, 1, 0))],
        [(b"sBIT", b"\x08\x08\x08")],
    ],
)
def test_what_is_meant_by_other_formats_anyway_is_not_missed(chunks: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    assert written(png(*(chunk(*each) for each in chunks)), ".png", tmp_path / "out.jpg") == []


def test_exif_data_in_a_text_are_applied_once(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation], tags[ExifTags.Base.Make] = 6, "Maker"
    data = tags.tobytes()
    text = f"\nexif\n{len(data):8d}\n{data.hex()}\n".encode()
    content = png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    assert written(content, ".png", tmp_path / "out.png") == []
    with Image.open(tmp_path / "out.png") as opened:
        assert opened.size == (HEIGHT, WIDTH)
        assert dict(opened.getexif()) == {ExifTags.Base.Make: "Maker"}


# AVIF and HEIC files, of which libraries write the simplest


def heif(*properties: bytes, of_first: tuple[int, ...] = (), kinds: tuple[bytes, ...] = (b"av01",)) -> bytes:
    """The boxes of a file that has items of these kinds, and properties, of which the first item has some."""
    items = [box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, kind)) for number, kind in enumerate(kinds, 1)]
    ipma = struct.pack(">IIHB", 0, 1, 1, len(of_first)) + bytes(of_first)
    parts = [
        bytes(4),
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, len(items)) + b"".join(items)),
        box(b"iprp", box(b"ipco", b"".join(properties)) + box(b"ipma", ipma)),
    ]
    return box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", b"".join(parts)) + box(b"mdat", b"ipco")


def auxiliary(name: bytes) -> bytes:
    return box(b"auxC", bytes(4) + name + b"\0")


HDR_COLOURS = box(b"colr", b"nclx" + struct.pack(">HHHB", 9, 16, 9, 128))
TEN_BITS = box(b"pixi", bytes(4) + b"\3\x0a\x0a\x0a")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (heif(), Contents()),
        (heif(auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")), Contents()),
        (heif(auxiliary(b"urn:com:apple:photo:2020:aux:hdrgainmap")), Contents(left_out=("gain map",))),
        (heif(auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth")), Contents(left_out=("depth map",))),
        (heif(auxiliary(b"urn:com:apple:a")), Contents(left_out=("auxiliary picture (urn:com:apple:a)",))),
        (heif(kinds=(b"av01", b"tmap")), Contents(left_out=("gain map",))),
        (heif(kinds=(b"hvc1", b"grid", b"Exif")), Contents()),
        (heif(kinds=(b"hvc1", b"uri ")), Contents(left_out=("item uri",))),
        (heif(HDR_COLOURS, TEN_BITS), Contents()),  # not the first picture's
        (heif(HDR_COLOURS, TEN_BITS, of_first=(1, 2)), Contents(10, (9, 16))),
        (heif(HDR_COLOURS, box(b"colr", b"prof"), of_first=(1, 2)), Contents()),
        (heif(box(b"av1C", b"\x81\0\x60\0"), of_first=(0x81,)), Contents(12)),
        (heif(box(b"clli", bytes(4)), of_first=(1,)), Contents(left_out=("brightness (clli)",))),
        (heif()[:60], Contents()),
        (box(b"meta", b""), Contents()),
    ],
)
def test_boxes(content: bytes, expected: Contents, tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(content)
    assert read_contents(tmp_path / "a.avif") == expected


# Odd and hostile files


@pytest.mark.parametrize(
    "packet",
    [
        f"{HDR}><hdrgm:Version>1.0".encode(),
        b"<a xmlns:h='http://ns.adobe.com/hdr-gain-map/1.0/'>" + b"<h:a>" * 200_000,
        b"".join(b' xmlns:a%d="http://ns.adobe.com/xap/1.0/"' % number for number in range(20_000)),
    ],
)
def test_xmp_data_that_do_not_end(packet: bytes, tmp_path: Path) -> None:
    packet = b"<x " + packet
    source = png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    (told,) = written(source, ".png", tmp_path / "out.png")
    assert told.endswith("XMP data, which are damaged.")


@pytest.mark.parametrize("resources", [bytes(99), CLIPPING + b"8BIM\7", resource(1028, IPTC)[:-4], b"8BIM"])
def test_damaged_photoshop_resources(resources: bytes, tmp_path: Path) -> None:
    (told,) = written(jpeg(photoshop(resources)), ".jpg", tmp_path / "out.jpg") or [""]
    assert told.endswith("damaged Photoshop resources.")
    assert inside_photoshop(CLIPPING)(tmp_path / "out.jpg") == resources.startswith(CLIPPING)


def test_long_comments_and_resources_take_several_segments(tmp_path: Path) -> None:
    long = resource(2000, np.random.default_rng(0).bytes(100_000))
    parts = [photoshop(long[:60_000]), photoshop(long[60_000:])]
    assert written(jpeg(*parts), ".jpg", tmp_path / "out.jpg") == []
    held = b"".join(data[14:] for marker, data in segments_of(tmp_path / "out.jpg") if marker == 0xED)
    assert held == long
    (tmp_path / "a.ppm").write_bytes(b"P6\n#" + b"x" * 70_000 + b"\n2 2\n255\n" + bytes(12))
    read_image(tmp_path / "a.ppm")


@pytest.mark.parametrize("size", [1_100_000, 3_000_000])
def test_large_profiles_and_resources_are_read_again(size: int, tmp_path: Path) -> None:
    profile = struct.pack(">I", size) + PROFILE[4:] + np.random.default_rng(0).bytes(size - len(PROFILE))
    long = resource(2000, np.random.default_rng(1).bytes(size))
    parts = [
        segment(0xE2, b"ICC_PROFILE\0" + bytes((number + 1, -(-size // 60_000))) + profile[60_000 * number :][:60_000])
        for number in range(-(-size // 60_000))
    ]
    parts += [photoshop(long[at : at + 60_000]) for at in range(0, len(long), 60_000)]
    (tmp_path / "a.jpg").write_bytes(jpeg(*parts))
    write_image(read_image(tmp_path / "a.jpg"), tmp_path / "out.png")
    again = read_image(tmp_path / "out.png").metadata
    assert again.icc_profile == profile
    assert again.extras.photoshop == long


def test_a_profile_that_unpacks_to_more_than_the_memory(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2**25)))))
    with pytest.raises(ImageError, match=r"a\.png is damaged: Decompressed data too large"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("padding", [bytes(64), b"\r\n", b"\xff" * 3], ids=["NUL", "line", "FF"])
def test_padding_after_the_end_is_not_missed(padding: bytes, tmp_path: Path) -> None:
    for suffix, content in ((".png", png()), (".jpg", JPEG), (".webp", riff()), (".gif", GIF)):
        assert written(content + padding, suffix, tmp_path / "out.png") == []


@pytest.mark.parametrize("data", [b"", bytes(99), b"MM\0*\0\0\0\x08" + bytes(60), b"II*\0\x08\0\0\0" + bytes(6)])
def test_empty_exif_data_are_not_missed(data: bytes, tmp_path: Path) -> None:
    for suffix, content in ((".jpg", jpeg(segment(0xE1, b"Exif\0\0" + data))), (".png", png(chunk(b"eXIf", data)))):
        assert written(content, suffix, tmp_path / f"out{suffix}") == []


def test_of_many_things_a_few_are_named(tmp_path: Path) -> None:
    (told,) = written(png(*(chunk(b"tEXt", b"key%d\0" % n) for n in range(10_000))), ".png", tmp_path / "out.webp")
    assert "text (key0), text (key1), " in told
    assert told.endswith("text (key48) and 9951 others.")


def test_names_of_foreign_data_do_not_reach_the_terminal(tmp_path: Path) -> None:
    for suffix, content in (
        (".jpg", jpeg(segment(0xE5, b"\x1b[31m\n\0" + SMALL))),
        (".webp", riff((b"\x1b[3m", b"x"))),
        (".png", png(chunk(b"tEXt", b"\x1b[31m\0x"))),
    ):
        (told,) = written(content, suffix, tmp_path / "out.webp")
        assert "\x1b" not in told and "\n" not in told


def test_other_tools_open_what_was_written(tmp_path: Path) -> None:
    vips = pytest.importorskip("pyvips")
    everything = [chunk(b"tEXt", b"A\0a"), chunk(b"cICP", CODES), chunk(b"gAMA", bytes(4)), chunk(b"bKGD", bytes(6))]
    for depth, kind in ((8, "uchar"), (16, "ushort")):
        path = tmp_path / f"out.{depth}.png"  # libvips remembers names
        written(png(*everything, depth=depth), ".png", path)
        assert vips.Image.new_from_file(str(path), fail_on="warning").format == kind
    written(jpeg(segment(0xFE, b"x"), photoshop(CLIPPING), segment(0xE4, b"y")), ".jpg", tmp_path / "out.jpg")
    assert vips.Image.new_from_file(str(tmp_path / "out.jpg"), fail_on="warning").width == WIDTH


@pytest.mark.parametrize("suffix", FORMATS)
def test_photographs_with_nothing_more_are_written_without_a_word(suffix: str, tmp_path: Path) -> None:
    write_image(Photograph(Image.fromarray(PIXELS)), tmp_path / f"source{suffix}")
    assert written((tmp_path / f"source{suffix}").read_bytes(), suffix, tmp_path / f"out{suffix}") == []


# As a user sees it

QUICK = ["--iterations", "1", "--scales", "1"]


def mask(path: Path) -> Path:
    hole = Image.new("L", (WIDTH, HEIGHT))
    hole.paste(255, (12, 12, 16, 16))
    hole.save(path)
    return path


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(GAIN_MAPS["attribute"])
    output = tmp_path / "b.jpg"
    arguments = ["inpaint", str(tmp_path / "a.jpg"), str(mask(tmp_path / "mask.png")), "-o", str(output)]
    assert cli.main([*arguments, *QUICK, "--device", "cpu", "--quiet"]) == 0
    assert capsys.readouterr().err == f"Warning: {output}{WARNING}gain map.\n"


def test_in_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = tmp_path / "photographs", tmp_path / "out"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(chunk(b"tEXt", b"Title\0A cat"), chunk(b"caBX", b"c2pa")))
    (folder / "b.jpg").write_bytes(jpeg(segment(0xFE, b"a comment")))
    arguments = ["batch", "--image", str(folder), "--mask", str(mask(tmp_path / "mask.png")), "-o", str(output)]
    assert cli.main([*arguments, *QUICK, "--devices", "cpu", "--quiet"]) == 0
    assert capsys.readouterr().err == f"Warning: {output / 'a.png'}{WARNING}signed statement of origin (C2PA).\n"
    assert (b"tEXt", b"Title\0A cat") in chunks_of(output / "a.png")
    assert (0xFE, b"a comment") in segments_of(output / "b.jpg")
