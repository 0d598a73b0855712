"""Logic of the policy, control and task processes between messages; no ROS."""
