"""Data sets in LeRobot's format: written live, read, changed."""
