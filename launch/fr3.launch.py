"""Franka Research 3: `ros2 launch vla_policy fr3.launch.py policy:=FOLDER`, see docs/robots/fr3.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("fr3")
