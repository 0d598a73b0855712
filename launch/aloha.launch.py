"""ALOHA, two arms: `ros2 launch vla_policy aloha.launch.py policy:=FOLDER`, see docs/robots/aloha.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("aloha")
