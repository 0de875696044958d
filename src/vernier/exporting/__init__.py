"""Trained models in other files, for other tools."""

from vernier.exporting.weights import export, export_weights

__all__ = ["export", "export_weights"]
