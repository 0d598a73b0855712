"""Facts and known problems of this machine and its ROS environment."""
