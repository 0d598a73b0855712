"""Simulated robots: scenes, physics, tasks, demonstrations, mocks."""
