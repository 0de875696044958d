"""Files in and out."""

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
