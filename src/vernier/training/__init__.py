"""Training: the recipe, the loop, and what a run leaves behind."""

from vernier.training.recipe import Recipe, load_recipe, parse_recipe

__all__ = ["Recipe", "load_recipe", "parse_recipe"]
