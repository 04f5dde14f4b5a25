"""How many images drift needs on either side."""

FEWEST_IMAGES = 100
"""Of the training's kind, for a reference."""
FEWEST_IN_WINDOW = 8
"""Of the field."""
