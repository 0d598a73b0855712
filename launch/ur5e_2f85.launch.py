"""UR5e with Robotiq 2F-85: `ros2 launch vla_policy ur5e_2f85.launch.py policy:=FOLDER`, see docs/robots/ur5e_2f85.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("ur5e_2f85")
