"""Scripted experts and the training data that they generate."""
