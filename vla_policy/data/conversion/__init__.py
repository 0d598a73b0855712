"""Conversions of demonstrations: bags, data sets of LeRobot, shards of the simulation."""
