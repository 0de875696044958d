"""Models measured as the papers measure: pictures on benchmarks, fusion on hyperspectral scenes."""

from vernier.evaluation.cubes import evaluate_fusion, is_fusion_data, is_fusion_model
from vernier.evaluation.fusion_report import FusionData, FusionReport, FusionResult, SceneScore
from vernier.evaluation.pictures import evaluate
from vernier.evaluation.published import Published, published
from vernier.evaluation.report import PAPERS, ImageScore, Protocol, Report, Result, format_of

__all__ = [
    "PAPERS",
    "FusionData",
    "FusionReport",
    "FusionResult",
    "ImageScore",
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
