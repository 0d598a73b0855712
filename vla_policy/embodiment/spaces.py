"""The vocabulary of an embodiment file: action spaces, their columns, units, limits and outputs."""

from __future__ import annotations

from dataclasses import dataclass

QUATERNION_PARTS = ("qx", "qy", "qz", "qw")
AXES = ("x", "y", "z")
POSE_PARTS = (*AXES, *QUATERNION_PARTS)
POSITION = ("ee.x", "ee.y", "ee.z")
ROTATIONS = {
    "quaternion_xyzw": tuple(f"ee.{part}" for part in QUATERNION_PARTS),
    "rpy": ("ee.roll", "ee.pitch", "ee.yaw"),
    "rotation_vector": ("ee.rx", "ee.ry", "ee.rz"),
    "r6d": ("ee.r1", "ee.r2", "ee.r3", "ee.r4", "ee.r5", "ee.r6"),
}
TOOL_POSE = (*POSITION, *ROTATIONS["quaternion_xyzw"])  # form of measured and commanded poses
TWIST = ("ee.vx", "ee.vy", "ee.vz", "ee.wx", "ee.wy", "ee.wz")
BASE_TWIST = ("base.vx", "base.vy", "base.wz")
GRIPPER = ("gripper",)
JOINT_PREFIX = "joint."
ABSOLUTE = ("absolute",)
RELATIVE = ("measured", "commanded", "chunk_start")
GOALS = ("gripper_command", "parallel_gripper_command")  # outputs that are actions
# Time for which controllers continue without another command.
SERVO_TIMEOUT_NS = 100_000_000  # moveit_servo, incoming_command_timeout
BASE_TIMEOUT_NS = 500_000_000  # cmd_vel_timeout of diff_drive_controller and similar ones
CAMERA_TYPES = ("image", "compressed")
JOINT_UNITS = ("rad", "m")


@dataclass(frozen=True, slots=True)
class Space:
    """Required keys of a group in one space, the limits that it needs and its possible outputs."""

    units: tuple[str, ...]
    references: tuple[str, ...]
    outputs: tuple[str, ...]
    limits: tuple[str, ...]
    keys: tuple[str, ...] = ()


_CARTESIAN = (
    "workspace",
    "linear_speed_m_s",
    "linear_acceleration_m_s2",
    "angular_speed_rad_s",
    "angular_acceleration_rad_s2",
    "start_jump_m",
    "start_jump_rad",
)
_JOINT = ("joint_speed_per_s", "joint_acceleration_per_s2", "start_jump_rad")
_JOINT_OUT = ("float64_multi_array", "joint_trajectory")
_POSE_OUT = ("pose", "servo_pose")
_TWIST_OUT = ("twist", "servo_twist")
_HAND_OUT = (
    "float64_multi_array",
    "joint_trajectory",
    "gripper_command",
    "parallel_gripper_command",
)
_TWIST_LIMITS = ("linear_speed_m_s", "linear_acceleration_m_s2", "angular_speed_rad_s",
                 "angular_acceleration_rad_s2")  # fmt: skip
SPACES = {
    "joint_position": Space(("rad", "m", "deg"), ABSOLUTE, _JOINT_OUT, _JOINT),
    "joint_delta": Space(("rad", "m", "deg"), RELATIVE, _JOINT_OUT, _JOINT),
    "ee_pose": Space(("m",), ABSOLUTE, _POSE_OUT, _CARTESIAN, ("frame", "rotation")),
    "ee_delta": Space(("m",), RELATIVE, _POSE_OUT, _CARTESIAN, ("frame", "rotation")),
    "ee_twist": Space(("m_s",), ABSOLUTE, _TWIST_OUT, ("workspace", *_TWIST_LIMITS), ("frame",)),
    "gripper": Space(
        ("fraction",), ABSOLUTE, _HAND_OUT, ("gripper_speed_per_s",), ("open", "closed")
    ),
    "base_twist": Space(("m_s",), ABSOLUTE, ("twist",), _TWIST_LIMITS, ("frame",)),
}

# Largest plausible value of each limit: a misplaced decimal point is refused.
LIMIT_RANGES = {
    "max_chunk_age_s": (0.01, 30.0, "s"),
    "engage_fade_s": (0.0, 10.0, "s"),
    "linear_speed_m_s": (0.001, 5.0, "m/s"),
    "linear_acceleration_m_s2": (0.01, 100.0, "m/s^2"),
    "angular_speed_rad_s": (0.001, 20.0, "rad/s"),
    "angular_acceleration_rad_s2": (0.01, 500.0, "rad/s^2"),
    "start_jump_m": (0.001, 0.5, "m"),
    "start_jump_rad": (0.001, 3.0, "rad"),
    "gripper_speed_per_s": (0.01, 50.0, "1/s"),
    "joint_speed_per_s": (0.001, 20.0, "rad/s or m/s"),
    "joint_acceleration_per_s2": (0.01, 500.0, "rad/s^2 or m/s^2"),
}
