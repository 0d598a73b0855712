"""PAL TIAGo, arm and base: `ros2 launch vla_policy tiago.launch.py policy:=FOLDER`, see docs/robots/tiago.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("tiago")
