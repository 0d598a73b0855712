"""Checkpoint folders of other projects, each read as it is."""
