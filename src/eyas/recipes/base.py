"""The root of the recipes: what a recipe promises."""

from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component


class Recipe(Component):
    """How a network is trained: optimiser, schedule, loss, augmentation."""


AnyRecipe = Annotated[SerializeAsAny[Recipe], BeforeValidator(Recipe.parse)]
