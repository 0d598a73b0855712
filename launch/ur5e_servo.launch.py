"""UR5e through MoveIt Servo: `ros2 launch vla_policy ur5e_servo.launch.py policy:=FOLDER`, see docs/robots/ur5e_servo.md."""

from vla_policy.ros.bringup import bringup


def generate_launch_description():
    return bringup("ur5e_servo")
