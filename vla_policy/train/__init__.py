"""Training: data sets, mixtures, batches, optimiser, run folders. The losses are in families/."""
