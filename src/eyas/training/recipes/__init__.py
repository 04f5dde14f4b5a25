"""Recipes: how a network is trained. One recipe per file."""

from eyas.component import import_members
from eyas.training.recipes.base import AnyRecipe, Recipe

import_members(__name__, __path__)

__all__ = ["AnyRecipe", "Recipe"]
