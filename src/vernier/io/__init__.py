"""Files in and out."""

from vernier.io.pictures import (
    DEFAULT_COMPRESSION,
    DEFAULT_MAX_PIXELS,
    PICTURE_SUFFIXES,
    Picture,
    PictureError,
    encode_picture,
    picture_size,
    read_picture,
    write_picture,
)

__all__ = [
    "DEFAULT_COMPRESSION",
    "DEFAULT_MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "Picture",
    "PictureError",
    "encode_picture",
    "picture_size",
    "read_picture",
    "write_picture",
]
