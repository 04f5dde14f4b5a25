"""What the device gets: exported files, the proof that they compute the same, their latency."""
