"""Checkpoint folders of this and other projects: what is in them, read strictly, written back bit for bit."""
