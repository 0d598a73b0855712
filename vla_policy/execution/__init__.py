"""From action chunks to one setpoint at a time. Pure: every time is an argument."""
