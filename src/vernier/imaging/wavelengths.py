"""Centres of spectral bands that more than one module needs."""

__all__ = ["VISIBLE_WAVELENGTHS"]

VISIBLE_WAVELENGTHS = tuple(400.0 + 10 * band for band in range(31))
"""400, 410, ... 700 nm: the bands of CAVE, and of the tables of camera responses."""
