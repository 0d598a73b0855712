"""Demonstrations from one form into another: bags, data sets of LeRobot, shards of the simulation."""
