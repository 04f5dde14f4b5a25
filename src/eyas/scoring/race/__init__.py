"""The race: rungs, standings, the journal that a killed race goes on from."""
