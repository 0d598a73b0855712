"""Checkpoint folders: native/ (this project's), foreign/ (others'), tensors/, conversion/."""
