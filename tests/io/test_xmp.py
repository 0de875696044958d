"""XMP that says how large its picture is, and what lies beside it."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from vernier.io.xmp import fitted_xmp, stated_companions, without_companions

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
EXIF, TIFF = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/"
SPHERE = "http://ns.google.com/photos/1.0/panorama/"


def packet(attributes: str = "", elements: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f"<rdf:Description {attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        f'{" " * 40}<?xpacket end="w"?>'
    ).encode()


def values(xmp: bytes) -> dict[str, str]:
    """All properties of a packet, by another reader of XML."""
    found: dict[str, str] = {}
    for element in ElementTree.fromstring(xmp.decode()).iter():
        found |= dict(element.attrib)
        if element.text and element.text.strip():
            found[element.tag] = element.text.strip()
    return found


SIZES = {
    f"{{{EXIF}}}PixelXDimension": "80",
    f"{{{EXIF}}}PixelYDimension": "64",
    f"{{{TIFF}}}ImageWidth": "80",
    f"{{{TIFF}}}ImageLength": "64",
    f"{{{TIFF}}}Make": "Grüße > 80",
}


@pytest.mark.parametrize("as_elements", [False, True])
@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("prefix", ["exif", "e2"])
def test_sizes_become_the_pictures_own(as_elements: bool, quote: str, prefix: str) -> None:
    names = f'xmlns:{prefix}="{EXIF}" xmlns:tiff="{TIFF}"'
    told = []
    for name, value in SIZES.items():
        space, local = name[1:].split("}")
        told.append((f"{prefix if space == EXIF else 'tiff'}:{local}", value.replace(">", "&gt;")))
    if as_elements:
        xmp = packet(names, "".join(f"<{name}>{value}</{name}>\n" for name, value in told))
    else:
        pairs = " ".join(f"{name} = {quote}{value}{quote}" for name, value in told)
        xmp = packet(f"{names} {pairs}")
    assert values(xmp) == SIZES
    fitted = fitted_xmp(xmp, 160, 128)
    changed = {name: {"80": "160", "64": "128"}.get(value, value) for name, value in SIZES.items()}
    assert values(fitted) == changed
    # Two digits became three, at four places of one kind and no other.
    assert len(fitted) == len(xmp) + 4
    assert fitted_xmp(fitted, 160, 128) == fitted


def test_a_panorama_keeps_its_proportion() -> None:
    numbers = {
        **{"FullPanoWidthPixels": 4000, "FullPanoHeightPixels": 2000},
        **{"CroppedAreaImageWidthPixels": 1000, "CroppedAreaImageHeightPixels": 500},
        **{"CroppedAreaLeftPixels": 300, "CroppedAreaTopPixels": 7, "PoseHeadingDegrees": 350},
        **{"LargestValidInteriorRectTop": 5, "LargestValidInteriorRectWidth": 900},
        **{"SourcePhotosCount": 50},
    }
    text = " ".join(f'GPano:{name}="{number}"' for name, number in numbers.items())
    fitted = values(fitted_xmp(packet(f'xmlns:GPano="{SPHERE}" {text}'), 2000, 1500))
    after = {name: int(fitted[f"{{{SPHERE}}}{name}"]) for name in numbers}
    kept = {"PoseHeadingDegrees": 350, "SourcePhotosCount": 50}
    down = {
        name: number * 3 for name, number in numbers.items() if "Height" in name or "Top" in name
    }
    across = {name: number * 2 for name, number in numbers.items()}
    assert after == across | down | kept


def test_a_panorama_without_its_own_size_stays() -> None:
    xmp = packet(f'xmlns:GPano="{SPHERE}" GPano:FullPanoWidthPixels="4000"')
    assert fitted_xmp(xmp, 10, 10) == xmp


def test_the_size_that_regions_are_for_follows() -> None:
    regions = "http://www.metadataworkinggroup.com/schemas/regions/"
    dimensions = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
    applied = '<mwg-rs:AppliedToDimensions stDim:w="80" stDim:h="64" stDim:unit="pixel"/>'
    page = '<xmpTPg:MaxPageSize xmlns:xmpTPg="http://ns.adobe.com/xap/1.0/t/pg/" stDim:w="8"/>'
    names = f'xmlns:mwg-rs="{regions}" xmlns:stDim="{dimensions}"'
    xmp = packet(names, f"<mwg-rs:Regions>{applied}</mwg-rs:Regions>{page}")
    fitted = fitted_xmp(xmp, 160, 128)
    assert applied.replace("80", "160").replace("64", "128").encode() in fitted
    assert page.encode() in fitted


CONTAINER = """<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource">
<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Length="9"/></rdf:li>
</rdf:Seq></Container:Directory>"""
PLACES = 'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
PLACES += 'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
KEPT = f'xmlns:tiff="{TIFF}" tiff:Make="Maker"'


@pytest.mark.parametrize(
    ("attributes", "elements", "told"),
    [
        (
            'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"',
            "<hdrgm:GainMapMax><rdf:Seq><rdf:li>2</rdf:li></rdf:Seq></hdrgm:GainMapMax>",
            "a gain map (HDR)",
        ),
        (
            f'xmlns:g="http://ns.adobe.com/hdr-gain-map/1.0/" g:Version="1.0" {PLACES}',
            CONTAINER,
            "a gain map (HDR)",
        ),
        (PLACES, CONTAINER, "further pictures"),
        (
            'xmlns:H="http://ns.apple.com/HDRGainMap/1.0/"',
            "<H:HDRGainMapVersion>65536</H:HDRGainMapVersion>",
            "a gain map (HDR)",
        ),
        (
            'xmlns:C="http://ns.google.com/photos/1.0/camera/" C:MicroVideo="1" '
            'C:MicroVideoOffset="4000"',
            "<C:MotionPhoto>1</C:MotionPhoto>",
            "a video (motion photo)",
        ),
        (
            'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="0123"',
            "",
            "the second part of its XMP",
        ),
    ],
)
def test_what_lies_beside_is_told_and_claimed_no_longer(
    attributes: str, elements: str, told: str
) -> None:
    xmp = packet(f"{KEPT} {attributes}", elements)
    assert stated_companions(xmp) == (told,)
    cleaned = without_companions(xmp)
    assert stated_companions(cleaned) == ()
    assert values(cleaned) == {f"{{{TIFF}}}Make": "Maker"}
    assert cleaned.startswith(xmp[:60])
    assert cleaned.endswith(b'<?xpacket end="w"?>')


def test_other_properties_of_cameras_stay() -> None:
    space = "http://ns.google.com/photos/1.0/camera/"
    xmp = packet(f'xmlns:C="{space}" C:SpecialTypeID="x" C:MotionPhoto="1"')
    assert values(without_companions(xmp)) == {f"{{{space}}}SpecialTypeID": "x"}


BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x='adobe:ns:meta/' xmlns:t='http://ns.adobe.com/tiff/1.0/' t:ImageWidth='&b;'/>"""


@pytest.mark.parametrize(
    "xmp",
    [
        *(b"", b"\0\0", b"<", b"nonsense", packet()[:-120], packet().decode().encode("utf-16")),
        packet(f"xmlns:t='{TIFF}' t:ImageWidth='8'", "<a>" * 200 + "</a>" * 200),
        *(BOMB, packet('xmlns:t="http://ns.adobe.com/tiff/1.0/" t:ImageWidth="80" bad')),
    ],
)
def test_what_cannot_be_read_stays_byte_for_byte(xmp: bytes) -> None:
    assert stated_companions(xmp) == ()
    assert without_companions(xmp) == xmp
    assert fitted_xmp(xmp, 3, 4) == xmp


def test_flipped_bytes_never_escape() -> None:
    random = np.random.default_rng(0)
    whole = packet(f"{KEPT} tiff:ImageWidth='80' {PLACES}", CONTAINER)
    for _ in range(300):
        broken = bytearray(whole)
        for place in random.integers(0, len(broken), 2):
            broken[place] = random.integers(256)
        stated_companions(bytes(broken))
        fitted_xmp(without_companions(bytes(broken)), 3, 4)
