"""A robot file as the observer reads it: plain YAML into plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

JOINTS, TOOL, TWIST, BASE, HAND = "joints", "tool", "twist", "base", "hand"
KINDS = {
    "joint_position": JOINTS, "joint_delta": JOINTS, "ee_pose": TOOL, "ee_delta": TOOL,
    "ee_twist": TWIST, "base_twist": BASE, "gripper": HAND,
}  # fmt: skip
GOALS = ("gripper_command", "parallel_gripper_command")


@dataclass(frozen=True)
class Group:
    """One action group. columns, space, reference, rotation: as the policy speaks.

    joints: places in Described.joint_names, of kind joints. speed, acceleration: float64[j] of joints,
    or [linear, angular] of tools, twists and bases. box: (lower, upper) of the tool, or None.
    """

    name: str
    kind: str
    space: str
    columns: tuple[str, ...]
    reference: str
    unit: str
    rotation: str | None
    source: str
    output: dict[str, Any]
    joints: tuple[int, ...] = ()
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    speed: np.ndarray | None = None
    acceleration: np.ndarray | None = None
    box: tuple[np.ndarray, np.ndarray] | None = None
    jump: float = 0.0  # largest distance to the first setpoint, rad of joints or m of tools
    opens_up: bool = True

    @property
    def topic(self) -> str:
        return self.output["topic"]


@dataclass(frozen=True)
class Described:
    """One robot. ages: largest age in s of 'joints', 'pose' and each camera."""

    name: str
    file: Path
    frame: str
    period_ns: int
    step_ns: int
    joint_names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    groups: tuple[Group, ...]
    tools: tuple[str, ...]
    cameras: tuple[str, ...]
    ages: dict[str, float]
    chunk_age_s: float
    fade_s: float
    keep_out: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    modelled: bool = False
    columns: tuple[str, ...] = field(default=())

    @property
    def period_s(self) -> float:
        return self.period_ns / 1e9

    @property
    def braking_s(self) -> float:
        """How long any arm or base may take to rest after the last command that moves it."""
        slowest = [
            float(np.max(g.speed / g.acceleration)) for g in self.groups if g.speed is not None
        ]
        return max([*slowest, 2 * self.period_s]) + 6 * self.period_s + 0.05

    def of_kind(self, *kinds: str) -> tuple[Group, ...]:
        return tuple(g for g in self.groups if g.kind in kinds)


def read(file: Path) -> Described:
    """The robot of a YAML file, which is taken to be well formed."""
    raw = yaml.safe_load(file.read_text())
    joints, limits = raw["joints"], raw["limits"]
    names = tuple(joints["names"])
    lower, upper = np.array(joints["lower"], float), np.array(joints["upper"], float)
    pose = raw.get("ee_pose")
    poses = {} if pose is None else ({"ee": pose} if "max_age_s" in pose else pose)
    ages = {"joints": joints["max_age_s"]}
    if poses:
        ages["pose"] = next(iter(poses.values()))["max_age_s"]
    ages |= {name: camera["max_age_s"] for name, camera in raw["cameras"].items()}
    groups = tuple(_group(a, limits[a["group"]], raw["outputs"][a["group"]], names, lower, upper)
                   for a in raw["actions"])  # fmt: skip
    return Described(
        name=raw["name"],
        file=file,
        frame=raw["base_frame"],
        period_ns=round(1e9 / raw["rates"]["command_hz"]),
        step_ns=round(1e9 / raw["rates"]["policy_hz"]),
        joint_names=names,
        lower=lower,
        upper=upper,
        groups=groups,
        tools=tuple(poses),
        cameras=tuple(raw["cameras"]),
        ages=ages,
        chunk_age_s=limits["max_chunk_age_s"],
        fade_s=limits["engage_fade_s"],
        keep_out=tuple(_box(b) for b in limits.get("keep_out", ())),
        modelled="model" in raw,
        columns=tuple(c for a in raw["actions"] for c in a["names"]),
    )


def _group(action, limits, output, names, lower, upper) -> Group:
    kind = KINDS[action["space"]]
    known: dict[str, Any] = {}
    if kind == JOINTS:
        own = [names.index(c.removeprefix("joint.")) for c in action["names"]]
        known = {
            "joints": tuple(own),
            "lower": lower[own],
            "upper": upper[own],
            "speed": np.array(limits["joint_speed_per_s"], float),
            "acceleration": np.array(limits["joint_acceleration_per_s2"], float),
            "jump": limits["start_jump_rad"],
        }
    elif kind == HAND:
        known = {
            "speed": np.array([limits["gripper_speed_per_s"]]),
            "acceleration": np.array([1e9]),
        }
        known["opens_up"] = float(action["open"]) == 1.0
    else:
        known = {
            "speed": np.array([limits["linear_speed_m_s"], limits["angular_speed_rad_s"]]),
            "acceleration": np.array(
                [limits["linear_acceleration_m_s2"], limits["angular_acceleration_rad_s2"]]
            ),
            "box": _box(limits["workspace"]) if "workspace" in limits else None,
            "jump": limits.get("start_jump_m", 0.0),
        }
    first = action["names"][0]
    source = first if kind == HAND else first.rpartition(".")[0] if kind in (TOOL, TWIST) else ""
    return Group(
        name=action["group"], kind=kind, space=action["space"], columns=tuple(action["names"]),
        reference=action["reference"], unit=action["unit"], rotation=action.get("rotation"),
        source=source, output=output, **known,
    )  # fmt: skip


def _box(raw) -> tuple[np.ndarray, np.ndarray]:
    return np.array(raw["lower"], float), np.array(raw["upper"], float)
