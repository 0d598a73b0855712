"""The simulated ViperX 300 with the shipped policy: `ros2 launch vla_policy demo.launch.py`."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("vx300s", sim="true")
