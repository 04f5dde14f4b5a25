"""The search space: which channels belong together, what they cost, and how a network is cut."""
