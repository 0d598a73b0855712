"""The values passed between the stages of the system, one frozen type per stage.

Conventions, everywhere: time is integer nanoseconds of the node's clock; lengths are metres, angles
radians, quaternions xyzw, images uint8[h, w, 3] RGB; poses are of the tool frame in the base frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

Array = np.ndarray
T = TypeVar("T")


def required(value: T | None, what: str) -> T:
    """value, for callers that require an otherwise optional field.

    Raises ValueError for None: the robot's description lacks what is needed here.
    """
    if value is None:
        raise ValueError(f"{what}: got none, expected one")
    return value


def readonly(values: Any, dtype: Any = np.float64) -> Array:
    """values as a read-only array of dtype: a copy, unless they are read-only already."""
    if isinstance(values, np.ndarray) and values.dtype == dtype and _sealed(values):
        return values
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


def _sealed(array: Array) -> bool:
    """Whether neither the array nor its underlying memory can be written."""
    if array.flags.writeable:
        return False
    base = array.base
    return (
        base is None or isinstance(base, bytes) or (isinstance(base, np.ndarray) and _sealed(base))
    )


def _require_vector(owner: str, name: str, array: Array, width: int) -> None:
    if array.shape != (width,):
        raise ValueError(f"{owner}.{name}: got shape {array.shape}, expected ({width},)")


@dataclass(frozen=True, slots=True)
class Observation:
    """The policy's input at one time.

    images:     camera name -> uint8[h, w, 3] RGB. A camera without an image is absent, never black.
    state:      float64[s] in the order of state_names, robot units.
    obs_ns:     stamp of the newest input, node clock; row k of the resulting chunk is due at
                obs_ns + k * step_ns.
    Raises ValueError for a wrong shape, dtype or a non-finite state.
    """

    images: Mapping[str, Array]
    state: Array
    state_names: tuple[str, ...]
    instruction: str
    obs_ns: int

    def __post_init__(self) -> None:
        images = {}
        for name, image in self.images.items():
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"Observation.images[{name!r}]: got {image.dtype}{list(image.shape)}, expected uint8[h, w, 3]"
                )
            images[name] = readonly(image, np.uint8)
        object.__setattr__(self, "images", MappingProxyType(images))
        object.__setattr__(self, "state", readonly(self.state))
        _require_vector("Observation", "state", self.state, len(self.state_names))
        if not np.isfinite(self.state).all():
            bad = [
                n for n, v in zip(self.state_names, self.state, strict=True) if not np.isfinite(v)
            ]
            raise ValueError(f"Observation.state: not finite: {', '.join(bad)}")


# Treatment of the plan when the instruction changes: it ends at once and the robot waits for the
# first chunk of the new one, or it continues until that arrives and blends into it.
CHANGES = ("flush", "blend")


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """Planned actions in robot units. Row k is due at obs_ns + k * step_ns.

    A row is *due* when the controller starts to move towards it; it is reached one step later.
    actions:      float64[t, d], columns in the order of names, read-only.
    sequence:     counts chunks of one policy process, from 0.
    terminate:    the policy reports the instruction complete.
    adapter:      name of the network's adapter for the whole chunk; '' if none.
    instruction_change: treatment of another instruction's plan, one of CHANGES; '' without one.
    continues:    sequence of the chunk in execution that this one continues; None: none.
    frozen_rows:  leading rows copied from that chunk, because they are executed meanwhile.
    model_actions: float64[t, m], the same chunk in the model's normalised space, for real-time
                  chunking.
    """

    actions: Array
    names: tuple[str, ...]
    obs_ns: int
    step_ns: int
    sequence: int
    instruction: str
    plan: str = ""
    terminate: bool = False
    infer_ns: int = 0
    frozen_rows: int = 0
    model_actions: Array | None = None
    continues: int | None = None
    instruction_change: str = ""
    adapter: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", readonly(self.actions))
        if self.actions.ndim != 2 or self.actions.shape[1] != len(self.names):
            raise ValueError(
                f"ActionChunk.actions: got shape {self.actions.shape}, expected (rows, {len(self.names)})"
            )
        if self.step_ns <= 0:
            raise ValueError(f"ActionChunk.step_ns: got {self.step_ns}, expected > 0")
        if self.model_actions is not None:
            object.__setattr__(self, "model_actions", readonly(self.model_actions))


@dataclass(frozen=True, slots=True)
class RobotState:
    """What the robot reports. Values never received are None or absent.

    joint_positions: float64[j] rad (m for prismatic), in Embodiment.joint_names order.
    poses:           tool -> float64[7] x y z qx qy qz qw, tool frame in base frame. The tool of a
                     robot with one arm is 'ee'.
    ee_ns:           stamp of the poses, of the oldest one if there are several.
    grippers:        gripper -> opening, 0 closed to 1 open. A single one is 'gripper'.
    """

    joint_positions: Array | None = None
    joint_ns: int | None = None
    poses: Mapping[str, Array] = field(default_factory=lambda: MappingProxyType({}))
    ee_ns: int | None = None
    grippers: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.joint_positions is not None:
            object.__setattr__(self, "joint_positions", readonly(self.joint_positions))
        poses = {tool: readonly(pose) for tool, pose in self.poses.items()}
        for tool, pose in poses.items():
            _require_vector("RobotState", f"poses[{tool!r}]", pose, 7)
        object.__setattr__(self, "poses", MappingProxyType(poses))
        object.__setattr__(self, "grippers", MappingProxyType(dict(self.grippers)))

    @property
    def ee_pose(self) -> Array | None:
        """The pose of the tool, for a robot with one arm."""
        return self.poses.get("ee")

    @property
    def gripper(self) -> float | None:
        """The opening of the gripper, for a robot with one."""
        return self.grippers.get("gripper")


@dataclass(frozen=True, slots=True)
class Command:
    """One setpoint for the robot's controllers, in robot units.

    values: float64[d] in the order of names: Embodiment.action_names, or those of the commanded
    action groups. The other groups receive no command.
    rates: float64[d], velocity of joints at their values, per s; zero in other columns. None: at
    rest.
    """

    values: Array
    names: tuple[str, ...]
    stamp_ns: int
    rates: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", readonly(self.values))
        rates = np.zeros(len(self.names)) if self.rates is None else self.rates
        object.__setattr__(self, "rates", readonly(rates))
        for name in ("values", "rates"):
            _require_vector("Command", name, getattr(self, name), len(self.names))


class Level(IntEnum):
    """How far the guard intervened; the most restrictive check wins."""

    PASS = 0
    SLOW = 1
    HOLD = 2
    STOP = 3


QUESTION = "question"  # code of a Reason: an instruction that asks, or the answer to it


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a check acted. code is one of a fixed set, detail is one sentence for the user."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The guard's result: a command within all limits, or None for no output."""

    level: Level
    command: Command | None
    reasons: tuple[Reason, ...] = field(default=())
