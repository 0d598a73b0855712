"""Checkpoint folders of other projects, read in their own formats."""
