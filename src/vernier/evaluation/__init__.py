"""Models measured as the papers do: pictures on benchmarks, cubes on hyperspectral scenes."""

from vernier.evaluation.cube_report import FusionData, FusionReport, FusionResult, SceneScore
from vernier.evaluation.evaluate import evaluate, split_arguments
from vernier.evaluation.inputs import data_files
from vernier.evaluation.picture_report import (
    PAPERS,
    ImageScore,
    PictureReport,
    Protocol,
    Result,
)
from vernier.evaluation.published import Published, published
from vernier.tables import Format, Report, format_of

__all__ = [
    "PAPERS",
    "Format",
    "FusionData",
    "FusionReport",
    "FusionResult",
    "ImageScore",
    "PictureReport",
    "Protocol",
    "Published",
    "Report",
    "Result",
    "SceneScore",
    "data_files",
    "evaluate",
    "format_of",
    "published",
    "split_arguments",
]
