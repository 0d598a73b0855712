"""Vision-language-action policies for real arms, on ROS 2."""

__version__ = "0.1.0"
