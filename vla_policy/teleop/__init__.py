"""Teleoperation without ROS: devices, their mappings to actions, and one moving target."""
