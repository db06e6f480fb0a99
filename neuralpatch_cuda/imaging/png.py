"""Chunks of PNG files that neither Pillow nor libvips hands on, read and written."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neuralpatch_cuda.imaging import embedded

HEAD = 33
"""Bytes of a file that come before anything else: the signature and the header's chunk."""

READ = {b"PLTE", b"tRNS", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
"""Chunks that are read by others: palette, pixels, frames, profile, EXIF data."""
LAYOUT = {b"iDOT"}
"""Ancillary chunks that say where in the file something is."""
KEPT = {b"cICP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI", b"pHYs", b"sPLT", b"tIME", b"sCAL", b"sTER"}
"""Chunks that are not all marked as safe to copy, but are as true of the filled picture."""
TEXT = {b"tEXt", b"zTXt", b"iTXt"}
SEVERAL = {b"sPLT", *TEXT}
"""Public chunks of which a file can have more than one."""

COMMENT = b"Comment"
XMP = b"XML:com.adobe.xmp"
RAW_PROFILE = b"Raw profile type "
"""How the keywords begin under which ImageMagick and ExifTool keep, in hexadecimal, what PNG has no chunks for."""
LARGEST_PROFILE = 2**24
"""Bytes of such a text, or of an ICC profile, that are unpacked."""
LARGEST_PACKED = 2**20
"""Bytes of a text beyond which readers, such as Pillow, refuse one that is compressed."""

WORDS = {
    b"cICP": "colour space (cICP)",
    b"gAMA": "gamma (gAMA)",
    b"cHRM": "primaries (cHRM)",
    b"mDCV": "brightness (mDCV)",
    b"mDCv": "brightness (mDCV)",
    b"cLLI": "brightness (cLLI)",
    b"cLLi": "brightness (cLLI)",
    b"bKGD": "background (bKGD)",
    b"sBIT": "significant bits (sBIT)",
    b"hIST": "histogram (hIST)",
    b"sPLT": "palette (sPLT)",
    b"pHYs": "shape of pixels (pHYs)",
    b"tIME": "time of change (tIME)",
    b"caBX": embedded.C2PA,
    b"dSIG": "signature (dSIG)",
}

SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
SRGB_GAMMA = 45455
TOLERANCE = 100
"""How far from sRGB the numbers of cHRM and gAMA may be, in 1/100,000, for it to be meant."""
SRGB_CODES = {(primaries, transfer) for primaries in (1, 2) for transfer in (1, 2, 6, 13)}
"""Primaries and transfer of cICP where readers that do not know it show the right colours."""


class Chunk(NamedTuple):
    """A chunk of a PNG file."""

    name: bytes
    data: bytes
    late: bool = False
    """Whether it comes after the pixels."""

    def __bytes__(self) -> bytes:
        content = self.name + self.data
        return struct.pack(">I", len(self.data)) + content + struct.pack(">I", zlib.crc32(content))

    @property
    def keyword(self) -> bytes:
        """Of a text."""
        return self.data.partition(b"\0")[0]


@dataclass(frozen=True)
class Contents:
    """What a PNG file has beside what others read."""

    chunks: tuple[Chunk, ...]
    """What stays, as it goes into a file of the filled picture."""
    profiles: dict[str, bytes]
    """What texts hold for other programs, such as iptc."""
    left_out: tuple[str, ...]
    """What does not stay, in words."""
    with_profile: bool
    """Whether there is an ICC profile, damaged or not."""


def read_contents(path: Path) -> Contents:
    """Read the chunks of a PNG file that is known to be sound."""
    header, found, rest = _parse(path)
    names = {chunk.name for chunk in found}
    palette = next((chunk.data for chunk in found if chunk.name == b"PLTE"), b"")
    chunks: dict[object, Chunk] = {}
    profiles, left_out = {}, []
    for index, chunk in enumerate(found):
        if chunk.name in READ | LAYOUT or _is_said_elsewhere(chunk, names):
            continue
        if chunk.name in TEXT and chunk.keyword.startswith(RAW_PROFILE):
            profiles[chunk.keyword[len(RAW_PROFILE) :].decode("latin-1")] = _raw_profile(chunk)
            continue
        stays = _for_filled(chunk, header, names, palette)
        if stays is None:
            left_out.append(word_of(chunk))
        else:
            several = chunk.name in SEVERAL or chunk.name[1:2].islower()
            chunks.setdefault(index if several else chunk.name, stays)
    if word := embedded.after_end(rest):
        left_out.append(word)
    return Contents(tuple(chunks.values()), profiles, tuple(left_out), b"iCCP" in names)


def with_chunks(content: bytes, chunks: Iterable[Chunk]) -> Iterator[bytes | memoryview]:
    """The parts of a PNG file, as Pillow made it, with more chunks."""
    chunks = tuple(chunks)
    view = memoryview(content)
    yield view[:HEAD]
    yield from (bytes(chunk) for chunk in chunks if not chunk.late)
    yield view[HEAD:-12]
    yield from (bytes(chunk) for chunk in chunks if chunk.late)
    yield view[-12:]


def comment_chunk(comment: bytes) -> Chunk:
    """A comment, in UTF-8 or Latin-1, as a text."""
    comment = comment.replace(b"\0", b" ")
    try:
        ascii_or_utf8 = comment.decode()
    except UnicodeDecodeError:
        return Chunk(b"tEXt", COMMENT + b"\0" + comment)
    if ascii_or_utf8.isascii():
        return Chunk(b"tEXt", COMMENT + b"\0" + comment)
    return Chunk(b"iTXt", COMMENT + b"\0\0\0\0\0" + comment)


def profile_chunk(kind: str, data: bytes) -> Chunk:
    """Data for other programs as a text, such as ImageMagick writes it."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(data):8d}\n{lines}\n".encode()
    keyword = RAW_PROFILE + kind.encode() + b"\0"
    if len(text) > LARGEST_PACKED:
        return Chunk(b"tEXt", keyword + text)
    return Chunk(b"zTXt", keyword + b"\0" + zlib.compress(text))


def cicp_chunk(primaries: int, transfer: int) -> Chunk:
    """A chunk that tells the colour space of RGB pixels by its numbers in ITU-T H.273."""
    return Chunk(b"cICP", bytes((primaries, transfer, 0, 1)))


def colour_codes(chunks: Iterable[Chunk]) -> tuple[int, int] | None:
    """Primaries and transfer by their numbers in ITU-T H.273, where a cICP chunk tells them."""
    data = next((chunk.data for chunk in chunks if chunk.name == b"cICP" and len(chunk.data) == 4), None)
    return None if data is None else (data[0], data[1])


def words_elsewhere(chunks: tuple[Chunk, ...], with_profile: bool, codes: bool = False) -> list[str]:
    """What of these chunks would be missed in a file of another format.

    Args:
        chunks: of one file.
        with_profile: whether an ICC profile tells what the colours mean.
        codes: whether the other file tells what cICP does.
    """
    first = {chunk.name: chunk for chunk in reversed(chunks)}
    harmless = {b"sRGB"}  # which is taken for granted elsewhere
    own_codes = colour_codes(chunks)
    told = own_codes in SRGB_CODES or (codes and own_codes is not None)
    if told:
        harmless.add(b"cICP")
    if told or with_profile or b"sRGB" in first or _like_srgb(first):
        harmless |= {b"gAMA", b"cHRM"}
    if b"sBIT" in first and set(first[b"sBIT"].data) <= {8, 16}:  # all of them
        harmless.add(b"sBIT")
    if b"pHYs" in first and first[b"pHYs"].data[:4] == first[b"pHYs"].data[4:8]:
        harmless.add(b"pHYs")
    return [word_of(chunk) for chunk in chunks if chunk.name not in harmless]


def word_of(chunk: Chunk) -> str:
    """What a chunk is, for a user."""
    if chunk.name in TEXT:
        return f"text ({embedded.printable(chunk.keyword)})"
    return WORDS.get(chunk.name, f"chunk {embedded.printable(chunk.name)}")


def _parse(path: Path) -> tuple[bytes, list[Chunk], bytes]:
    """The header's data; all chunks but it and the pixels, in order; and what follows the end."""
    chunks: list[Chunk] = []
    header, late = b"", False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name == b"IEND":
                file.seek(length + 4, 1)
                return header, chunks, file.read()
            late |= name == b"IDAT"
            if name in (b"IDAT", b"fdAT"):
                file.seek(length, 1)
            elif name == b"IHDR":
                header = file.read(length)
            else:
                chunks.append(Chunk(name, file.read(length), late))
            file.seek(4, 1)
    return header, chunks, b""


def _for_filled(chunk: Chunk, header: bytes, names: set[bytes], palette: bytes) -> Chunk | None:
    """A chunk as it goes into a file of the filled picture; None if it cannot."""
    if chunk.name == b"sBIT":
        return _significant_bits(header, b"tRNS" in names, chunk)
    if chunk.name == b"bKGD":
        return _background(header, palette, chunk)
    if chunk.name in TEXT and chunk.keyword == XMP:  # of a kind that Pillow does not read, so it may show the picture
        return None
    safe = chunk.name in KEPT or chunk.name[::3].islower()  # not critical, to be copied where pixels were changed
    return chunk if safe and not embedded.holds_picture(chunk.data) else None


def _is_said_elsewhere(chunk: Chunk, names: set[bytes]) -> bool:
    """Whether others read what a chunk says, or another chunk goes before it."""
    if chunk.name == b"iTXt":
        return chunk.keyword == XMP
    if chunk.name == b"sRGB":
        return b"iCCP" in names
    return chunk.name == b"pHYs" and chunk.data[8:] == b"\1"


def _raw_profile(chunk: Chunk) -> bytes:
    """Data for other programs, from the hexadecimal text that ImageMagick and ExifTool write; empty if it is none."""
    text = chunk.data[len(chunk.keyword) + 1 :]
    try:
        if chunk.name == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], LARGEST_PROFILE)
        elif chunk.name == b"iTXt":
            return b""
        return bytes.fromhex(text.split(b"\n", 3)[3].decode("ascii"))
    except (zlib.error, ValueError, IndexError):
        return b""


def _like_srgb(chunks: dict[bytes, Chunk]) -> bool:
    """Whether gAMA and cHRM, as far as there are any, mean sRGB."""
    for name, expected in ((b"gAMA", (SRGB_GAMMA,)), (b"cHRM", SRGB_PRIMARIES)):
        data = chunks[name].data if name in chunks else struct.pack(f">{len(expected)}I", *expected)
        if len(data) != 4 * len(expected):
            return False
        values = struct.unpack(f">{len(expected)}I", data)
        if any(abs(value - right) > TOLERANCE for value, right in zip(values, expected, strict=True)):
            return False
    return True


def _significant_bits(header: bytes, transparent: bool, chunk: Chunk) -> Chunk | None:
    """sBIT for the pixels that are written: 1-bit gray becomes RGB, and a transparent colour alpha."""
    depth, kind = header[8], header[9]
    bits, expected = chunk.data, {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}[kind]
    if len(bits) != expected or not all(0 < each <= (8 if kind == 3 else depth) for each in bits):
        return None
    if kind == 0 and depth == 1:
        bits *= 3
    if kind in (0, 2, 3) and transparent:
        bits += bytes([max(8, depth)])
    return chunk._replace(data=bits)


def _background(header: bytes, palette: bytes, chunk: Chunk) -> Chunk | None:
    """bKGD for the pixels that are written: palettes and 1-bit gray become RGB, and less than 8 bits 8."""
    depth, kind = header[8], header[9]
    if len(chunk.data) != {0: 2, 2: 6, 3: 1, 4: 2, 6: 6}[kind]:
        return None
    if kind == 3:
        colour = palette[3 * chunk.data[0] : 3 * chunk.data[0] + 3]
        return chunk._replace(data=struct.pack(">3H", *colour)) if len(colour) == 3 else None
    if depth >= 8:
        return chunk
    level = struct.unpack(">H", chunk.data)[0] * 255 // (2**depth - 1)
    if level > 255:
        return None
    return chunk._replace(data=struct.pack(">H", level) * (3 if depth == 1 else 1))
