"""Checkpoint folders: native/ ours, foreign/ others', tensors/ files of weights, conversion/ between them."""
