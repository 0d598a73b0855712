"""Data sets in the format of LeRobot: written live, read, changed."""
