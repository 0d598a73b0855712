"""From chunks to one setpoint at a time; pure functions, time is an argument."""
