"""Models measured on benchmarks, exactly as the papers measure, beside what the papers print."""

from vernier.evaluation.evaluate import evaluate
from vernier.evaluation.published import Published, published
from vernier.evaluation.report import PAPERS, ImageScore, Protocol, Report, Result, format_of

__all__ = [
    "PAPERS",
    "ImageScore",
    "Protocol",
    "Published",
    "Report",
    "Result",
    "evaluate",
    "format_of",
    "published",
]
