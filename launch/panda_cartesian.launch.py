"""Franka Panda, Cartesian: `ros2 launch vla_policy panda_cartesian.launch.py policy:=FOLDER`, see docs/robots/panda_cartesian.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("panda_cartesian")
