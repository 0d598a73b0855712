"""Simulated robots as nodes of the graph."""
