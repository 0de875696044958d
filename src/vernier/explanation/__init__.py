"""What networks look at (LAM), what they compute on the way, and what they gain where.

The names below are imported on first use: an explanation alone needs neither figures nor files.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vernier.explanation.comparison import Comparison, Group, Score, compare
    from vernier.explanation.features import FeatureMap, blocking, feature_maps
    from vernier.explanation.files import Explained, Finding, explain_files
    from vernier.explanation.lam import AttributionMap, Explanation, Window, explain
    from vernier.explanation.windows import Gain, Proposal, hardest_windows, proposed_windows

_HOMES = {
    "AttributionMap": "lam",
    "Comparison": "comparison",
    "Explained": "files",
    "Explanation": "lam",
    "FeatureMap": "features",
    "Finding": "files",
    "Gain": "windows",
    "Group": "comparison",
    "Proposal": "windows",
    "Score": "comparison",
    "Window": "lam",
    "blocking": "features",
    "compare": "comparison",
    "explain": "lam",
    "explain_files": "files",
    "feature_maps": "features",
    "hardest_windows": "windows",
    "proposed_windows": "windows",
}

__all__ = [
    "AttributionMap",
    "Comparison",
    "Explained",
    "Explanation",
    "FeatureMap",
    "Finding",
    "Gain",
    "Group",
    "Proposal",
    "Score",
    "Window",
    "blocking",
    "compare",
    "explain",
    "explain_files",
    "feature_maps",
    "hardest_windows",
    "proposed_windows",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
