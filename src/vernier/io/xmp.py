"""XMP: what a packet says of its picture's size, and of pictures that lie beside it.

ISO 16684-1 for the packet; Photo Sphere XMP, Ultra HDR 1.1, Motion Photo 1.0 and MWG 2.0 for the
properties. A packet is changed where it must be, and stays byte for byte elsewhere: readers are
particular about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

__all__ = ["fitted_xmp", "stated_companions", "without_companions"]

_EXIF, _TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
_PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
_DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
_REGIONS_OF = "http://www.metadataworkinggroup.com/schemas/regions/ AppliedToDimensions"
_NOTE = "http://ns.adobe.com/xmp/note/"

# All that stands in these namespaces is about other pictures that follow in the same file.
_GAIN_MAPS = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "a gain map (HDR)",
    "http://ns.apple.com/HDRGainMap/1.0/": "a gain map (HDR)",
    "http://ns.apple.com/pixeldatainfo/1.0/": "a gain map (HDR)",
}
_CONTAINERS = {
    "http://ns.google.com/photos/1.0/container/": "further pictures",
    "http://ns.google.com/photos/1.0/container/item/": "further pictures",
}
_COMPANIONS = _GAIN_MAPS | _CONTAINERS
_VIDEO = re.compile(r"(?:MotionPhoto|MicroVideo)")
_EXTENDED = "HasExtendedXMP"
_OF_INTEREST = frozenset({_EXIF, _TIFF, _PANORAMA, _CAMERA, _DIMENSIONS, _NOTE, *_COMPANIONS})
# More than any packet needs; what files may ask for without end is memory.
_DEEPEST, _MOST = 100, 10_000

_TAG = re.compile(rb"<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:\"[^\"]*\"|'[^']*'))*\s*/?>")
_ATTRIBUTE = re.compile(rb"\s+([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_END_TAG = re.compile(rb"</[^>]*>")


@dataclass(frozen=True)
class _Property:
    """A property's name, value and places in the packet, as an attribute or as an element.

    Attributes:
        name: namespace and local name, with a space between.
        value: its text; "" for what is not text alone.
        whole: from where to where it goes.
        inner: from where to where its value goes.
        parents: names of the elements around it.
    """

    name: str
    value: str
    whole: tuple[int, int]
    inner: tuple[int, int]
    parents: tuple[str, ...]

    @property
    def namespace(self) -> str:
        return self.name.rpartition(" ")[0]

    @property
    def local(self) -> str:
        return self.name.rpartition(" ")[2]


def stated_companions(xmp: bytes) -> tuple[str, ...]:
    """What a packet says that lies beside the picture, in words for people."""
    found = dict.fromkeys(what for each in _properties(xmp) if (what := _companion(each)))
    if len(found) > 1:
        # A container is how the other is stored.
        found.pop("further pictures", None)
    return tuple(found)


def without_companions(xmp: bytes) -> bytes:
    """The packet without what `stated_companions` tells of."""
    properties = [each for each in _properties(xmp) if _companion(each)]
    return _edited(xmp, [(*each.whole, b"") for each in properties]) if properties else xmp


def fitted_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """The packet for a picture of another size, in which it says how many pixels there are.

    Panoramas keep their proportion to the whole sphere.
    """
    properties = list(_properties(xmp))
    panorama = {each.local: each for each in properties if each.namespace == _PANORAMA}
    sizes = {f"{_EXIF} PixelXDimension": width, f"{_EXIF} PixelYDimension": height}
    sizes |= {f"{_TIFF} ImageWidth": width, f"{_TIFF} ImageLength": height}
    edits = []
    for each in properties:
        number = sizes.get(each.name)
        if each.namespace == _PANORAMA:
            number = _of_panorama(each, panorama, width, height)
        elif each.namespace == _DIMENSIONS and _REGIONS_OF in each.parents:
            number = {"w": width, "h": height}.get(each.local)
        if number is not None and each.value.strip() != str(number):
            edits.append((*each.inner, str(number).encode()))
    return _edited(xmp, edits) if edits else xmp


def _companion(each: _Property) -> str | None:
    if each.namespace == _CAMERA and _VIDEO.match(each.local):
        return "a video (motion photo)"
    if each.namespace == _NOTE and each.local == _EXTENDED:
        return "the second part of its XMP"
    return _COMPANIONS.get(each.namespace)


def _of_panorama(
    each: _Property, panorama: dict[str, _Property], width: int, height: int
) -> int | None:
    """A number of pixels of a panorama; None for what counts no pixels or cannot be told."""
    if not re.search(r"Pixels$|^LargestValidInteriorRect", each.local):
        return None
    across = re.search(r"Width|Left", each.local)
    length, side = (width, "Width") if across else (height, "Height")
    try:
        stated = int(panorama[f"CroppedAreaImage{side}Pixels"].value)
        return round(int(each.value) * length / stated)
    except (KeyError, ValueError, ZeroDivisionError):
        return None


@dataclass
class _Element:
    name: str
    start: int
    end: int
    has_children: bool = False


@dataclass
class _Reader:
    xmp: bytes
    found: list[_Property] = field(default_factory=list)
    open: list[_Element] = field(default_factory=list)

    def start(self, name: str, attributes: list[str], at: int) -> None:
        tag = _TAG.match(self.xmp, at)
        if tag is None:
            raise ValueError("no tag")
        if self.open:
            self.open[-1].has_children = True
        if len(self.open) > _DEEPEST:
            raise ValueError("nested too deeply")
        parents = tuple(each.name for each in self.open)
        self.open.append(_Element(name, at, tag.end()))
        names, values = iter(attributes[::2]), iter(attributes[1::2])
        for match in _ATTRIBUTE.finditer(self.xmp, at, tag.end()):
            if match[1].split(b":")[0] == b"xmlns":
                # A declaration goes with all that needs it.
                owner, value = match[2][1:-1].decode() + " ", ""
                if owner[:-1] not in _COMPANIONS:
                    continue
            else:
                owner, value = next(names), next(values)
            inner = match.start(2) + 1, match.end(2) - 1
            self.take(_Property(owner, value, match.span(), inner, (*parents, name)))

    def stop(self, at: int) -> None:
        element = self.open.pop()
        closing = _END_TAG.match(self.xmp, at)
        is_empty = closing is None or at < element.end
        inner = (element.end, element.end) if is_empty else (element.end, at)
        whole = (element.start, element.end if closing is None or is_empty else closing.end())
        value = "" if element.has_children else self.xmp[slice(*inner)].decode()
        parents = tuple(each.name for each in self.open)
        self.take(_Property(element.name, value, whole, inner, parents))

    def take(self, found: _Property) -> None:
        if found.namespace in _OF_INTEREST:
            if len(self.found) == _MOST:
                raise ValueError("too many properties")
            self.found.append(found)


def _properties(xmp: bytes) -> Iterator[_Property]:
    """Attributes and elements that matter here, outer ones last; none of a damaged packet."""
    reader = _Reader(xmp)
    parser = expat.ParserCreate(encoding="UTF-8", namespace_separator=" ")
    parser.ordered_attributes = True

    def refuse(*_: object) -> None:
        raise ValueError("a packet declares no entities")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, attributes: reader.start(
        name, attributes, parser.CurrentByteIndex
    )
    parser.EndElementHandler = lambda _: reader.stop(parser.CurrentByteIndex)
    try:
        parser.Parse(xmp.rstrip(b"\0 \n\r\t"), True)
    except (expat.ExpatError, ValueError, StopIteration, IndexError):
        return iter(())
    return iter(reader.found)


def _edited(xmp: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The packet with parts replaced; of parts inside of others, the outer ones count."""
    parts, done = [], 0
    for start, end, content in sorted(edits, key=lambda edit: (edit[0], -edit[1])):
        if start >= done:
            parts += [xmp[done:start], content]
            done = end
    return b"".join([*parts, xmp[done:]])
