"""Demonstrations on disk."""
