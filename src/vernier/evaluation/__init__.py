"""Models measured as the papers measure: pictures on benchmarks, fusion on hyperspectral scenes."""

from vernier.evaluation.cube_report import FusionData, FusionReport, FusionResult, SceneScore
from vernier.evaluation.cubes import evaluate_fusion, is_fusion_data, is_fusion_model
from vernier.evaluation.picture_report import (
    PAPERS,
    ImageScore,
    PictureReport,
    Protocol,
    Result,
)
from vernier.evaluation.pictures import evaluate
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
    "evaluate",
    "evaluate_fusion",
    "format_of",
    "is_fusion_data",
    "is_fusion_model",
    "published",
]
