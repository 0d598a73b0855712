"""A teleoperation device as its file in config/teleop describes it, and its received messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vla_policy.types import Array, readonly

JOY, TWIST, POSE, JOINT_STATES = "joy", "twist", "pose", "joint_states"
BUTTON, TOPIC, CENTRE, ALWAYS = "button", "topic", "centre", "always"
# kind -> (accepted message types, kinds of dead-man)
KINDS = {
    "gamepad": ((JOY,), (BUTTON,)),
    "spacemouse": ((JOY, TWIST), (BUTTON, TOPIC, CENTRE)),
    "keyboard": ((TWIST,), (CENTRE,)),
    "hand": ((POSE,), (BUTTON, TOPIC)),
    "leader": ((JOINT_STATES,), (ALWAYS, BUTTON, TOPIC)),
}
TOOL_RATES = ("vx", "vy", "vz", "wx", "wy", "wz")
EVENTS = ("take_over", "hand_back", "pause")


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest message of one topic. stamp_ns: the time that its age counts from.

    values: joy axes; a twist, float64[6]; a pose, float64[7]; joints in the order of leader_names;
    an opening, float64[1].
    buttons: of joy; of a std_msgs/Bool its one value.
    """

    stamp_ns: int
    values: Array = field(default_factory=lambda: readonly([]))
    buttons: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """One number of a device. rest: its value untouched; full: at its end; index: its position.

    button: it is a button, not an axis.
    """

    index: int
    rest: float = 0.0
    full: float = 1.0
    button: bool = False

    def share(self, heard: Heard, dead_zone: float) -> float:
        """Deflection from -1 to 1; 0 inside the dead zone, and continuous at its edge."""
        if self.button:
            return float(heard.buttons[self.index] > 0)
        value = float(heard.values[self.index])
        if value == 0.0 and self.rest != 0.0:
            return 0.0  # a trigger not yet touched since the driver started reads 0
        part = (value - self.rest) / (self.full - self.rest)
        beyond = min(1.0, abs(part)) - dead_zone
        return 0.0 if beyond <= 0.0 else (beyond if part > 0.0 else -beyond) / (1.0 - dead_zone)


@dataclass(frozen=True, slots=True)
class DeadMan:
    """How the device shows that a person holds it, one of BUTTON, TOPIC, CENTRE, ALWAYS.

    button: of the joy messages on topic. topic: of those, or of std_msgs/Bool; '' is the device's.
    """

    how: str
    button: int = 0
    topic: str = ""


@dataclass(frozen=True, slots=True)
class LeaderJoint:
    """follower = sign * leader + offset; low, high: range of the leader; name: of its joint."""

    name: str
    sign: float
    offset: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LeaderGripper:
    """closed, open: the leader's joint at both ends of its stroke."""

    name: str
    closed: float
    open: float


@dataclass(frozen=True, slots=True)
class Device:
    """kind: one of KINDS. type: of its messages. max_age_s: their greatest age.

    arrival: the age counts from a message's arrival; else from its stamp.
    events: of EVENTS -> button. speed: share of the robot's limits at full deflection, or at most.
    axes: column of the tool ('vx') or of the action ('base.vx') -> its axis. in_tool: along the
    tool's own axes. joints: for a robot commanded by joints, each joint's axis, in order.
    opens, closes: the gripper's. gripper_topic: std_msgs/Float64, the opening; '' for none.
    scale: metres of the tool per metre of the hand. turn: float64[4] xyzw, the hand's frame in the
    base frame. max_step_m: a hand that moves more between two messages lost its tracking.
    ease_s: from the start to full speed. leader: column of the action -> joint of the leader.
    """

    name: str
    kind: str
    topic: str
    type: str
    max_age_s: float
    arrival: bool
    dead_man: DeadMan
    speed: float
    events: Mapping[str, int] = field(default_factory=dict)
    dead_zone: float = 0.0
    axes: Mapping[str, Axis] = field(default_factory=dict)
    in_tool: bool = False
    joints: tuple[Axis, ...] = ()
    opens: Axis | None = None
    closes: Axis | None = None
    gripper_topic: str = ""
    scale: float = 1.0
    turn: Array = field(default_factory=lambda: readonly([0.0, 0.0, 0.0, 1.0]))
    max_step_m: float = 0.1
    ease_s: float = 0.0
    leader: Mapping[str, LeaderJoint] = field(default_factory=dict)
    leader_gripper: LeaderGripper | None = None

    @property
    def leader_names(self) -> tuple[str, ...]:
        """The joints of the leader that are read, the gripper's last."""
        names = tuple(joint.name for joint in self.leader.values())
        return names if self.leader_gripper is None else (*names, self.leader_gripper.name)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Last messages of a device: motion, dead-man, gripper; None before the first of each."""

    motion: Heard | None = None
    dead_man: Heard | None = None
    gripper: Heard | None = None
