"""What can be said about a configuration before a robot moves: robot files, checkpoints, running topics, machines."""
