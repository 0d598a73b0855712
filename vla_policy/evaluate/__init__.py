"""Closed-loop measurement of a policy in the simulation, with the real control path in between."""
