"""The description of one robot: cameras, state, actions, limits, rates and topics.

The types mirror config/embodiments/*.yaml; embodiment_file.py reads and checks such a file.
Lengths are metres, angles radians, times seconds (`_s`) or integer nanoseconds (`_ns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_policy.embodiment.joint_units import JointEncoding
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array, required


@dataclass(frozen=True, slots=True)
class Rates:
    """policy_hz: rows of a chunk per second. command_hz: setpoints to the controllers."""

    policy_hz: float
    command_hz: float


@dataclass(frozen=True, slots=True)
class View:
    """Position of a camera and the point in the middle of its image, m in base_frame.

    fovy_deg: vertical angle of view. up: direction that is up in the image.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy_deg: float
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Camera:
    """type: 'image' (sensor_msgs/Image) or 'compressed' (sensor_msgs/CompressedImage).

    max_still_s: frozen-image timeout: longest time of identical pixels while the robot moves.
    view: of a fixed camera; None if unknown or moving.
    """

    name: str
    topic: str
    type: str
    max_age_s: float
    max_still_s: float
    view: View | None = None


@dataclass(frozen=True, slots=True)
class Joints:
    """The robot's joints in the order used everywhere. lower, upper: float64[j] in unit.

    topics: topic of JointState -> prefix of its joint names, usually empty.
    wire: encoding of positions on the topics and for the joint controllers; None: in unit.
    """

    topics: Mapping[str, str]
    names: tuple[str, ...]
    unit: str
    lower: Array
    upper: Array
    max_age_s: float
    wire: JointEncoding | None = None

    @property
    def topic(self) -> str:
        """The topics as text."""
        return ", ".join(self.topics)


@dataclass(frozen=True, slots=True)
class PoseSource:
    """Source of the measured pose of a tool in the base frame.

    kind: 'topic' (messages on topic), 'tf' (the frame looked up by tf2) or 'model' (forward
    kinematics of the body frame of Embodiment.model). topic: a description if there is no topic.
    """

    topic: str
    max_age_s: float
    kind: str = "topic"
    frame: str = ""


@dataclass(frozen=True, slots=True)
class ActionGroup:
    """Columns of an action that belong together.

    space: one of spaces.SPACES. frame, rotation: None if the space has none.
    open, closed: the values of a gripper column at both ends of its stroke, else None.
    """

    name: str
    space: str
    unit: str
    reference: str
    names: tuple[str, ...]
    frame: str | None = None
    rotation: str | None = None
    open: float | None = None
    closed: float | None = None


@dataclass(frozen=True, slots=True)
class Workspace:
    """Box for the tool frame's origin in the base frame. lower, upper: float64[3], m."""

    lower: Array
    upper: Array


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """Bounds of one action group. None if its space does not need one; there are no defaults.

    joint_speed_per_s, joint_acceleration_per_s2: float64[j], units of the joints per s and s^2.
    gripper_speed_per_s: of the opening as a fraction. start_jump_*: largest distance from the
    measured position to the first setpoint.
    """

    workspace: Workspace | None = None
    linear_speed_m_s: float | None = None
    linear_acceleration_m_s2: float | None = None
    angular_speed_rad_s: float | None = None
    angular_acceleration_rad_s2: float | None = None
    joint_speed_per_s: Array | None = None
    joint_acceleration_per_s2: Array | None = None
    start_jump_m: float | None = None
    start_jump_rad: float | None = None
    gripper_speed_per_s: float | None = None

    @property
    def joint_rates(self) -> tuple[Array, Array]:
        """Speed and acceleration of joints. Raises ValueError for a space without them."""
        return (
            required(self.joint_speed_per_s, "joint_speed_per_s"),
            required(self.joint_acceleration_per_s2, "joint_acceleration_per_s2"),
        )

    @property
    def linear_rates(self) -> tuple[float, float]:
        """Speed and acceleration of tools and bases, linear."""
        return (
            required(self.linear_speed_m_s, "linear_speed_m_s"),
            required(self.linear_acceleration_m_s2, "linear_acceleration_m_s2"),
        )

    @property
    def angular_rates(self) -> tuple[float, float]:
        """Speed and acceleration of tools and bases, angular."""
        return (
            required(self.angular_speed_rad_s, "angular_speed_rad_s"),
            required(self.angular_acceleration_rad_s2, "angular_acceleration_rad_s2"),
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the guard. groups: by the name of the action group.

    engage_fade_s: after engaging, the speed limits grow from zero to full within this time.
    keep_out: boxes in the base frame that no tool may enter, and no link where there is a Model.
    """

    max_chunk_age_s: float
    engage_fade_s: float
    keep_out: tuple[Workspace, ...]
    groups: Mapping[str, GroupLimits]


@dataclass(frozen=True, slots=True)
class Model:
    """The model of the robot's bodies, for checks that need it: collisions, reach, singularities.

    file: URDF or MJCF. clearance_m: smallest distance of bodies that do not touch by design.
    ignore: pairs of bodies that may be closer. joint_margin: of tool poses, smallest distance of
    the joints from the ends of their ranges, rad or m. singular_value: of tool poses, smallest
    singular value of the Jacobian of the arm's joints (m and rad per rad or m).
    """

    file: Path
    clearance_m: float
    ignore: tuple[tuple[str, str], ...]
    joint_margin: float
    singular_value: float


@dataclass(frozen=True, slots=True)
class GripperJoint:
    """The joint whose position opens a gripper; closed, open in its controller's unit."""

    name: str
    closed: float
    open: float

    def opening(self, position: float) -> float:
        """The opening at a position, 0 closed to 1 open; the inverse of position()."""
        return (position - self.closed) / (self.open - self.closed)

    def position(self, opening: float) -> float:
        """The joint's position at an opening."""
        return self.closed + opening * (self.open - self.closed)


@dataclass(frozen=True, slots=True)
class Output:
    """Destination of the commands of one action group.

    type: one of the outputs of spaces.SPACES. topic: of the messages, or the name of the action.
    joint, closed, open: for a gripper commanded by the position of a joint, in its controller's
    unit.
    also: mimic joints, further joints of a trajectory controller with the same position.
    max_effort: of a gripper's goal, N or N m. prefix: of joint names, unknown to the controller.
    servo: name of the MoveIt Servo node.
    """

    type: str
    topic: str
    joint: str | None = None
    closed: float | None = None
    open: float | None = None
    also: tuple[str, ...] = ()
    max_effort: float | None = None
    prefix: str = ""
    servo: str | None = None

    @property
    def gripper_joint(self) -> GripperJoint | None:
        """The joint of a gripper that is commanded by a joint position, or None."""
        if self.joint is None or self.closed is None or self.open is None:
            return None
        return GripperJoint(self.joint, self.closed, self.open)


@dataclass(frozen=True, slots=True)
class Embodiment:
    """One robot. cameras: by name. poses: by tool, 'ee' or 'left.ee'. outputs: by action group."""

    name: str
    description: str
    base_frame: str
    tool_frame: str
    rates: Rates
    cameras: Mapping[str, Camera]
    camera_max_skew_s: float
    joints: Joints
    poses: Mapping[str, PoseSource]
    state: tuple[str, ...]
    actions: tuple[ActionGroup, ...]
    limits: Limits
    outputs: Mapping[str, Output]
    model: Model | None = None

    @property
    def ee_pose(self) -> PoseSource | None:
        """The first tool's pose; None if no pose is measured."""
        return next(iter(self.poses.values()), None)

    @property
    def camera_names(self) -> tuple[str, ...]:
        return tuple(self.cameras)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return self.joints.names

    @property
    def state_names(self) -> tuple[str, ...]:
        return self.state

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(name for group in self.actions for name in group.names)

    @property
    def policy_hz(self) -> float:
        return self.rates.policy_hz

    @property
    def command_hz(self) -> float:
        return self.rates.command_hz

    @property
    def step_ns(self) -> int:
        """Time between rows of a chunk."""
        return round(NS_PER_S / self.rates.policy_hz)

    @property
    def period_ns(self) -> int:
        """Time between commands."""
        return round(NS_PER_S / self.rates.command_hz)

    def columns(self, group: ActionGroup) -> slice:
        """The group's columns in an action."""
        start = 0
        for other in self.actions:
            if other.name == group.name:
                return slice(start, start + len(group.names))
            start += len(other.names)
        known = ", ".join(g.name for g in self.actions)
        raise ValueError(f"action group {group.name!r}: {self.name} has {known}")

    def group(self, *spaces: str) -> ActionGroup | None:
        """The first action group in one of these spaces."""
        return next((g for g in self.actions if g.space in spaces), None)
