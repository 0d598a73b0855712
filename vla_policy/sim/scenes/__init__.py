"""The objects on the table, their positions, and the appearance of the scene."""
