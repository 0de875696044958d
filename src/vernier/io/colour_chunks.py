"""What a PNG says of its colours without a profile, and a profile that says the same.

PNG (third edition), sections 11.3.2 (cHRM, gAMA, sRGB, cICP, mDCV, cLLI); ITU-T H.273 for cICP's
numbers; ICC.1:2001-04 for profiles. The numbers of the pixels stay; a format that cannot hold the
chunks gets the profile.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from vernier.io.png import Chunk, chunk, chunks_of

__all__ = ["LINEAR", "colour_of", "colour_profile", "unkept_colour"]

LINEAR = chunk(b"gAMA", struct.pack(">I", 100000))
"""Says that values are light, as in OpenEXR."""
_NAMES = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI"})
_D65 = (0.3127, 0.3290)
# White, red, green, blue: x and y of each, by cICP's number.
_PRIMARIES: dict[int, tuple[float, ...]] = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_VIDEO, _LINEAR, _SRGB = frozenset({1, 6, 14, 15}), 8, 13
_GAMMAS = {4: 2.2, 5: 2.8, _LINEAR: 1.0}
_HDR = {16: "PQ", 18: "HLG"}
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = np.array([0.9642, 1.0, 0.8249])
_CURVE_POINTS = 1024
_PROFILE_HEADER, _TAG_SIZE = 128, 12
# Of gamma and of coordinates: what writers round sRGB's own to.
_NEAR_GAMMA, _NEAR = 0.03, 0.002

_Curve = float | str
"""A gamma, or "srgb" or "video"."""


def colour_of(chunks: Iterable[Chunk], *, has_profile: bool) -> bytes:
    """The chunks of a PNG that tell of its colours, one after the other.

    Args:
        has_profile: whether it has a profile, beside which sRGB must not be.
    """
    left_out = {b"sRGB"} if has_profile else set()
    kept = {name: body for name, body in chunks if name in _NAMES - left_out}
    return b"".join(chunk(name, body) for name, body in kept.items())


def colour_profile(block: bytes, *, gray: bool) -> bytes | None:
    """A profile of the colours that chunks tell of.

    Args:
        block: of `colour_of`.
        gray: whether the picture has one channel.

    Returns:
        None where they tell of sRGB, which is what readers take anyway, or of what no profile can.
    """
    told = _meaning(block)
    if told is None or _is_srgb(*told):
        return None
    primaries, curve = told
    with suppress(np.linalg.LinAlgError, ZeroDivisionError, OverflowError, struct.error):
        return _gray_profile(curve) if gray else _rgb_profile(primaries, curve)
    return None


def unkept_colour(block: bytes) -> str | None:
    """What kind of colours a profile cannot tell of; None where it can."""
    found = dict(chunks_of(block))
    transfer = found.get(b"cICP", b"")[1:2]
    if transfer and transfer[0] in _HDR:
        return f"HDR ({_HDR[transfer[0]]})"
    if not found.keys() & {b"cICP", b"gAMA", b"cHRM"}:
        return None
    told = _meaning(block)
    if told is not None and (_is_srgb(*told) or colour_profile(block, gray=False)):
        return None
    return " and ".join(sorted(name.decode() for name in found))


def _meaning(block: bytes) -> tuple[tuple[float, ...], _Curve] | None:
    """Primaries and curve: of cICP before sRGB before gAMA and cHRM."""
    found = dict(chunks_of(block))
    primaries, curve = _PRIMARIES[1], "srgb"
    if len(code := found.get(b"cICP", b"")) == 4:
        transfer = code[1]
        if code[0] not in _PRIMARIES or code[2] != 0 or code[3] != 1:
            return None
        if transfer in _VIDEO or transfer == _SRGB:
            return _PRIMARIES[code[0]], "video" if transfer in _VIDEO else "srgb"
        return (_PRIMARIES[code[0]], _GAMMAS[transfer]) if transfer in _GAMMAS else None
    if b"sRGB" in found:
        return primaries, curve
    told: tuple[tuple[float, ...], _Curve] = primaries, curve
    if len(points := found.get(b"cHRM", b"")) == 32:
        told = tuple(value / 100000 for value in struct.unpack(">8I", points)), curve
    if len(exponent := found.get(b"gAMA", b"")) == 4:
        (value,) = struct.unpack(">I", exponent)
        if not 1000 <= value <= 10_000_000:
            return None
        told = told[0], 100000 / value
    return told


def _is_srgb(primaries: tuple[float, ...], curve: _Curve) -> bool:
    near = all(abs(a - b) < _NEAR for a, b in zip(primaries, _PRIMARIES[1]))
    if isinstance(curve, str):
        return near and curve == "srgb"
    return near and abs(curve - 2.2) < _NEAR_GAMMA


def _rgb_profile(primaries: tuple[float, ...], curve: _Curve) -> bytes:
    white, *colours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in _pairs(primaries))
    columns = np.stack(colours, 1)
    columns = columns * np.linalg.solve(columns, white)
    cone = _BRADFORD @ np.stack([_D50, white], 1)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cone[:, 0] / cone[:, 1]) @ _BRADFORD @ columns
    if not np.isfinite(adapted).all():
        raise np.linalg.LinAlgError("primaries on a line")
    tags = {name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T)}
    trc = _curve(curve)
    return _profile(b"RGB ", {**tags, b"rTRC": trc, b"gTRC": trc, b"bTRC": trc})


def _gray_profile(curve: _Curve) -> bytes:
    return _profile(b"GRAY", {b"kTRC": _curve(curve)})


def _pairs(values: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(values[::2], values[1::2]))


def _curve(curve: _Curve) -> bytes:
    """What a stored value is in light."""
    if not isinstance(curve, str):
        return struct.pack(">4s4xIH", b"curv", 1, min(round(curve * 256), 65535))
    v = np.linspace(0, 1, _CURVE_POINTS)
    if curve == "srgb":
        light: NDArray[np.float64] = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    else:
        light = np.where(v < 0.081, v / 4.5, ((v + 0.099) / 1.099) ** (1 / 0.45))
    points = np.rint(light * 65535).astype(">u2").tobytes()
    return struct.pack(">4s4xI", b"curv", _CURVE_POINTS) + points


def _xyz(values: NDArray[np.float64]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(float(value) * 65536) for value in values))


def _profile(space: bytes, more: dict[bytes, bytes]) -> bytes:
    """A display profile, version 2.1, of sRGB's relative colorimetry."""
    name = b"Colours of a PNG\0"
    tags = {
        b"desc": struct.pack(">4s4xI", b"desc", len(name)) + name + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text" + bytes(4) + b"Public domain\0",
        b"wtpt": _xyz(_D50),
        **more,
    }
    start = _PROFILE_HEADER + 4 + _TAG_SIZE * len(tags)
    places: dict[bytes, int] = {}
    data = b""
    table = struct.pack(">I", len(tags))
    for tag, body in tags.items():
        if body not in places:
            places[body] = start + len(data)
            data += body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", tag, places[body], len(body))
    size = start + len(data)
    header = struct.pack(">I4xI4s4s4s", size, 0x02100000, b"mntr", space, b"XYZ ")
    # A date that says nothing, so that the same chunks always give the same profile.
    header += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(_PROFILE_HEADER, b"\0") + table + data
