"""What a person's hand does, made into rows of actions: devices, their mappings, and one target that moves. Without ROS."""
