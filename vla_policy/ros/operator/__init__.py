"""Clients of a running graph, for people."""
