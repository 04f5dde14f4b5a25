"""Recipes: how a network is trained. One recipe per file."""

from eyas.training.recipes.base import AnyRecipe, Recipe

__all__ = ["AnyRecipe", "Recipe"]
