"""Loops over data/: sets, mixtures, batches, optimiser, run folders. The losses are of families/."""
