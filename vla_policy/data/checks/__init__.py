"""Checks of recorded data: one file per subject, pure functions that return findings."""
