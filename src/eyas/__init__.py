"""Structural pruning of CNNs for the edge."""
