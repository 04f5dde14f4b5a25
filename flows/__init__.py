"""Prefect flows, one module per operation; ``python -m flows --help`` is the command line."""
