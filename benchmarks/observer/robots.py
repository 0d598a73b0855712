"""The robots of the scenarios: every shipped file, and files that vary what no shipped one has.

A varied robot is a shipped file with some keys replaced, written to a folder; the product and the
observer read the same file, each in its own way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "embodiments"
AXES = ("vx", "vy", "vz", "wx", "wy", "wz")


def files(folder: Path) -> dict[str, Path]:
    """Every robot by name; varied ones are written to folder."""
    found = {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}
    for name, (base, vary) in VARIED.items():
        raw = copy.deepcopy(yaml.safe_load(found[base].read_text()))
        vary(raw)
        raw["name"] = name
        path = folder / f"{name}.yaml"
        if not path.exists():
            path.write_text(yaml.safe_dump(raw, sort_keys=False))
        found[name] = path
    return found


def _scaled(raw: dict[str, Any], speed: float, acceleration: float) -> None:
    for group in raw["limits"].values():
        if not isinstance(group, dict):
            continue
        for key, value in group.items():
            factor = acceleration if "acceleration" in key else speed if "speed" in key else None
            if factor is not None:
                group[key] = (
                    [v * factor for v in value] if isinstance(value, list) else value * factor
                )


def _tight(raw):
    _scaled(raw, 0.4, 0.4)
    raw["limits"]["engage_fade_s"] = 0.0


def _loose(raw):
    _scaled(raw, 1.8, 3.0)
    raw["rates"]["command_hz"] = 125


def _fast_rate(raw):
    raw["rates"] = {"policy_hz": 50, "command_hz": 200}


def _boxed(raw):
    raw["limits"]["keep_out"] = [
        {"lower": [0.25, -0.10, 0.0], "upper": [0.35, 0.10, 0.20]},
        {"lower": [0.40, 0.15, 0.0], "upper": [0.60, 0.40, 0.30]},
    ]


def _servo_boxed(raw):
    raw["limits"]["keep_out"] = [
        {"lower": [-0.20, -0.20, 0.05], "upper": [0.20, 0.20, 0.50]},
        {"lower": [0.25, -0.60, 0.05], "upper": [0.50, -0.35, 0.40]},
    ]


def _forward(raw):
    raw["outputs"]["arm"] = {"type": "float64_multi_array", "topic": "forward/commands"}
    raw["limits"]["engage_fade_s"] = 0.0


def _joints_boxed(raw):
    raw["limits"]["keep_out"] = [{"lower": [0.2, -0.2, 0.0], "upper": [0.6, 0.2, 0.3]}]


def _twist_plain(raw):
    """The tool by velocities to a plain twist controller, and a base that moves sideways."""
    arm = raw["actions"][0]
    arm |= {"space": "ee_twist", "unit": "m_s", "names": [f"ee.{a}" for a in AXES]}
    arm.pop("rotation")
    for key in ("start_jump_m", "start_jump_rad"):
        raw["limits"]["arm"].pop(key)
    raw["outputs"]["arm"] = {"type": "twist", "topic": "tool_velocity"}
    raw["actions"][2]["names"] = ["base.vx", "base.vy", "base.wz"]


def _servo_pose(raw):
    raw["outputs"]["arm"] = {
        "type": "servo_pose", "topic": "servo_node/pose_target_cmds", "servo": "servo_node",
    }  # fmt: skip


def _pair_mixed(raw):
    """Two arms: one by joints to a forward controller, one by trajectories, other rates."""
    raw["outputs"]["left_arm"] = {"type": "float64_multi_array", "topic": "left/commands"}
    raw["rates"]["command_hz"] = 100
    raw["limits"]["engage_fade_s"] = 0.2


def _pair_twist(raw):
    """Two arms: the left tool by velocities, the right one by poses, and boxes for both."""
    _boxed(raw)
    arm = raw["actions"][0]
    arm |= {"space": "ee_twist", "unit": "m_s", "names": [f"left.ee.{a}" for a in AXES]}
    arm.pop("rotation")
    for key in ("start_jump_m", "start_jump_rad"):
        raw["limits"]["left_arm"].pop(key)
    raw["outputs"]["left_arm"] = {"type": "twist", "topic": "left/tool_velocity"}


def _pair_joints(raw):
    """Two arms: the left one by joints, the right tool by poses; nothing can keep the left out of boxes."""
    _boxed(raw)
    left = [f"left/{j}" for j in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle",
                                  "wrist_rotate")]  # fmt: skip
    raw["actions"][0] = {"group": "left_arm", "space": "joint_position", "unit": "rad",
                         "reference": "absolute", "names": [f"joint.{j}" for j in left]}  # fmt: skip
    raw["limits"]["left_arm"] = {
        "joint_speed_per_s": [1.5] * 6, "joint_acceleration_per_s2": [10.0] * 6,
        "start_jump_rad": 0.3,
    }  # fmt: skip
    raw["outputs"]["left_arm"] = {
        "type": "joint_trajectory", "topic": "left/joint_trajectory", "prefix": "left/",
    }  # fmt: skip


VARIED: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "fr3_tight": ("fr3", _tight),
    "fr3_loose": ("fr3", _loose),
    "ur5e_200hz": ("ur5e_2f85", _fast_rate),
    "ur5e_forward": ("ur5e_2f85", _forward),
    "vx300s_boxed": ("vx300s", _boxed),
    "vx300s_pair_boxed": ("vx300s_pair", _boxed),
    "vx300s_servo_pose": ("vx300s", _servo_pose),
    "ur5e_servo_boxed": ("ur5e_servo", _servo_boxed),
    "mobile_twist": ("vx300s_mobile", _twist_plain),
    "aloha_mixed": ("aloha", _pair_mixed),
    "pair_twist_boxed": ("vx300s_pair", _pair_twist),
    "fr3_boxed": ("fr3", _joints_boxed),
    "pair_joints_boxed": ("vx300s_pair", _pair_joints),
}
# Joint outputs with boxes and no model: nothing can enforce them, so the file must be refused.
MUST_REFUSE = ("fr3_boxed", "pair_joints_boxed")


def names() -> tuple[str, ...]:
    """All robots in a fixed order; a scenario's number chooses among them."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml"))) + tuple(VARIED)
