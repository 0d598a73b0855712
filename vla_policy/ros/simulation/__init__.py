"""The robot's side of the graph, simulated."""
