"""What people hold a picture in, made a `Picture`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vernier.errors import InputError
from vernier.io import Picture, read_picture
from vernier.io.files import reason_of

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Source", "picture_of"]

Source: TypeAlias = (
    "Picture | str | Path | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | Image.Image"
)

# Modes of Pillow that PNG holds as they are; others go through TIFF.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def picture_of(source: Source) -> Picture:
    """A picture, whatever it is given as.

    Args:
        source: a `Picture`, which is given back; a file's name; a file's content (bytes), or a
            binary file open for reading, such as `io.BytesIO`; a picture of Pillow; or an array as
            `vernier.Upscaler.upscale_array` takes it.

    Raises:
        InputError: it is none of these.
        PictureError: the file, or the pixels, cannot be read.

    Example:
        >>> picture_of(np.zeros((20, 30, 3), np.uint8)).width
        30
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        return read_picture(Path(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return read_picture(source)
    if isinstance(source, np.ndarray):
        return Picture(np.ascontiguousarray(source[..., None] if source.ndim == 2 else source))
    if type(source).__module__.partition(".")[0] == "PIL":
        return _picture_of_pillow(source)
    if hasattr(source, "read"):
        content = source.read()
        if isinstance(content, bytes):
            return read_picture(content)
    raise InputError(
        "a picture is a file's name or content, a binary file, a Picture, an array, or a picture "
        f"of Pillow, not {type(source).__name__}"
    )


def _picture_of_pillow(image: Any) -> Picture:
    """With its profile and metadata, upright, as if read from a file."""
    held = BytesIO()
    kept = {name: image.info[name] for name in ("exif", "icc_profile") if image.info.get(name)}
    try:
        image.save(held, "PNG" if image.mode in _PNG_MODES else "TIFF", **kept)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"a picture of Pillow cannot be taken: {reason_of(error)}") from error
    return read_picture(held.getvalue())
