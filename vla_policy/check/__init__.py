"""Findings about configurations, running topics and this machine."""
