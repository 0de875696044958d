"""Exact resize and colour conversion on tensors."""

from vernier.imaging.colour import rgb_to_luma, rgb_to_ycbcr, ycbcr_to_rgb
from vernier.imaging.resize import imresize, imresize_uint8, resized_length

__all__ = [
    "imresize",
    "imresize_uint8",
    "resized_length",
    "rgb_to_luma",
    "rgb_to_ycbcr",
    "ycbcr_to_rgb",
]
