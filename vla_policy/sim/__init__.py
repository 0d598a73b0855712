"""Robots that are not there: scenes, physics, tasks, demonstrations, mocks."""
