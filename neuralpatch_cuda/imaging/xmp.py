"""XMP data that announce what does not go with a filled picture."""

from __future__ import annotations

import re

from neuralpatch_cuda.imaging import embedded

NAMESPACES = {
    b"http://ns.adobe.com/hdr-gain-map/1.0/": (b"", embedded.GAIN_MAP),
    b"http://ns.apple.com/HDRGainMap/1.0/": (b"", embedded.GAIN_MAP),
    b"http://ns.google.com/photos/1.0/depthmap/": (b"", embedded.DEPTH_MAP),
    b"http://ns.google.com/photos/dd/1.0/device/": (b"", embedded.DEPTH_MAP),
    b"http://ns.google.com/photos/1.0/image/": (b"", "picture in its XMP data"),
    b"http://ns.google.com/photos/1.0/audio/": (b"", "sound"),
    b"http://ns.google.com/photos/1.0/container/": (b"", ""),
    b"http://ns.google.com/photos/1.0/container/item/": (b"", ""),
    b"http://ns.google.com/photos/1.0/camera/": (b"Micro|Motion", ""),
    b"http://ns.adobe.com/xmp/note/": (b"HasExtendedXMP", ""),
    b"http://ns.adobe.com/xap/1.0/": (b"Thumbnails", ""),
}
"""By their addresses: how the names begin that are removed (any, if empty), and what they are or announce; without a
word for thumbnails, and for what the file's other parts tell, too."""

MOST_PREFIXES = 100
"""For these addresses; each takes time."""
PREFIX = re.compile(rb"""\sxmlns:([\w.-]+)\s*=\s*["']([^"']*)["']""")
ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>))[2-8]')


def cleaned(xmp: bytes) -> tuple[bytes | None, list[str]]:
    """XMP data of an upright picture alone, None if they are damaged; and in words what is left out."""
    xmp = ORIENTATION.sub(rb"\g<1>1", xmp)
    words = set()
    prefixes = sorted({(prefix, address) for prefix, address in PREFIX.findall(xmp) if address in NAMESPACES})
    if len(prefixes) > MOST_PREFIXES:
        return None, ["XMP data, which are damaged"]
    for prefix, address in prefixes:
        names, word = NAMESPACES[address]
        without = _without(xmp, prefix, names)
        if without is None:
            return None, ["XMP data, which are damaged"]
        if without != xmp:
            xmp = without
            words.add(word)
    return xmp, sorted(words - {""})


def _without(xmp: bytes, prefix: bytes, names: bytes) -> bytes | None:
    """XMP data without the elements and attributes of some names; None if an element does not end."""
    name = re.escape(prefix) + rb":(?:" + names + rb")[\w.-]*"
    parts, at = [], 0
    for element in re.finditer(rb"<(" + name + rb")(?:\s[^<>]*)?>", xmp):
        if element.start() < at:  # inside another
            continue
        parts.append(xmp[at : element.start()])
        at = element.end()
        if not element[0].endswith(b"/>"):
            close = b"</" + element[1] + b">"
            end = xmp.find(close, at)
            if end < 0:
                return None
            at = end + len(close)
    xmp = b"".join([*parts, xmp[at:]])
    without = re.sub(rb"\s" + name + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", b"", xmp)
    if len(without) < len(xmp) or parts:
        used = re.search(rb"[<\s/]" + re.escape(prefix) + rb":", without)
        declared = rb"\sxmlns:" + re.escape(prefix) + rb"""\s*=\s*["'][^"']*["']"""
        return without if used else re.sub(declared, b"", without)
    return xmp
