"""Dense and pruned networks on disk: architectures by name, checkpoints, one saved form."""
