"""ViperX 300 6DOF on a differential base: `ros2 launch vla_policy vx300s_mobile.launch.py policy:=FOLDER`, see docs/robots/vx300s_mobile.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("vx300s_mobile")
