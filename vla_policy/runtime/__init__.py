"""What the policy, control and task processes do between messages; no ROS."""
