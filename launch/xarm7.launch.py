"""UFACTORY xArm7: `ros2 launch vla_policy xarm7.launch.py policy:=FOLDER`, see docs/robots/xarm7.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("xarm7")
