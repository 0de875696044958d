"""Files in and out; what decodes pictures is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.io.picture_formats import PICTURE_SUFFIXES, WRITABLE_SUFFIXES
    from vernier.io.pictures import (
        DEFAULT_COMPRESSION,
        DEFAULT_MAX_PIXELS,
        Picture,
        PictureError,
        check_unit,
        encode_picture,
        losses_in,
        picture_size,
        read_picture,
        write_picture,
    )

__all__ = [
    "DEFAULT_COMPRESSION",
    "DEFAULT_MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Picture",
    "PictureError",
    "check_unit",
    "encode_picture",
    "losses_in",
    "picture_size",
    "read_picture",
    "write_picture",
]

# Type checkers see the names above, and tell one that is misspelt.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'vernier.io' has no attribute {name!r}")
        home = "picture_formats" if name.endswith("_SUFFIXES") else "pictures"
        return getattr(import_module(f"vernier.io.{home}"), name)
