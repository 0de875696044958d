"""Training: the recipe, the loop, and what a run leaves behind."""

from vernier.training.interrupts import InterruptedRun
from vernier.training.logs import Log, default_logs
from vernier.training.losses import Loss, create_loss, weighted_sum
from vernier.training.recipe import Recipe, load_recipe, parse_recipe
from vernier.training.sets import Crops, TrainingData
from vernier.training.trainer import TrainingError, TrainingResult, train

__all__ = [
    "Crops",
    "InterruptedRun",
    "Log",
    "Loss",
    "Recipe",
    "TrainingData",
    "TrainingError",
    "TrainingResult",
    "create_loss",
    "default_logs",
    "load_recipe",
    "parse_recipe",
    "train",
    "weighted_sum",
]
