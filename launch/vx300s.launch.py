"""ViperX 300 6DOF: `ros2 launch vla_policy vx300s.launch.py policy:=FOLDER`, see docs/robots/vx300s.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("vx300s")
