"""Rotations and poses as pure array functions."""
