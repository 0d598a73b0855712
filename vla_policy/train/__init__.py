"""Losses and loops over data/."""
