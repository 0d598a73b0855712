"""Closed-loop suites, comparisons, reports."""
