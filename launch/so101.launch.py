"""SO-101: `ros2 launch vla_policy so101.launch.py policy:=FOLDER`, see docs/robots/so101.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("so101")
