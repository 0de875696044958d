"""A coarse cube and a sharp guide, made one sharp cube: networks and classical methods."""

from vernier.fusion.choice import default_method
from vernier.fusion.classical import ClassicalFuser
from vernier.fusion.files import fuse, fuse_each
from vernier.fusion.fuser import Fuser
from vernier.fusion.pair import Pair, pair_of_scene, read_pair
from vernier.fusion.plausibility import check_guide
from vernier.fusion.result import Fused

__all__ = [
    "ClassicalFuser",
    "Fused",
    "Fuser",
    "Pair",
    "check_guide",
    "default_method",
    "fuse",
    "fuse_each",
    "pair_of_scene",
    "read_pair",
]
