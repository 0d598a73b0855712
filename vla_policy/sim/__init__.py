"""A simulated ViperX 300 on a table: scenes, physics, cameras, tasks, judges and a scripted expert."""
