"""Weights with a card that states a measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vernier.zoo.cards import Card
from vernier.zoo.checkpoints import new_card, save_weights
from vernier.zoo.creation import create_model


def write_measured(path: Path) -> Card:
    """Weights of an untrained sesr-m3 x2; the card as it lies beside them."""
    model = create_model("sesr-m3", scale=2)
    card = replace(
        new_card(model, "sesr-m3"),
        measured={"Set5": {"psnr": 37.213, "ssim": 0.95771}},
        licence="Apache-2.0",
    )
    return save_weights(model, path, card)
