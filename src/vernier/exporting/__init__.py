"""Trained models in other files, for other tools."""

from vernier.exporting.weights import export_weights

__all__ = ["export_weights"]
