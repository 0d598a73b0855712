"""From chunks to one setpoint at a time; pure, time is an argument."""
