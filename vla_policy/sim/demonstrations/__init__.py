"""Scripted experts and the training data they make."""
