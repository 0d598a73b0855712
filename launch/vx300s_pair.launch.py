"""Two ViperX 300 6DOF side by side: `ros2 launch vla_policy vx300s_pair.launch.py policy:=FOLDER`, see docs/robots/vx300s_pair.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("vx300s_pair")
