"""Policy files (config/policies/*.yaml): facts that another project's checkpoint does not contain.

Such a checkpoint holds tensors and statistics, but not which of the robot's cameras, joints and
commands its columns are, its rate, or the place of the gated tokenizer. A policy file states them:

    checkpoint: ~/checkpoints/pi0_aloha     # folder; relative paths start at this file
    format: auto                            # auto, vla, lerobot, openpi, openvla, paligemma
    tokenizer: ~/paligemma/tokenizer.model  # tokenizer.model or tokenizer.json; not if the folder has one
    cameras: {base_0_rgb: front, left_wrist_0_rgb: wrist}    # the checkpoint's name: the robot's
    state: [joint.waist, joint.elbow, gripper]               # the robot's names, in the checkpoint's order
    actions:
      names: [joint.waist, joint.elbow, gripper]             # columns of the chunks
      spaces: {arm: joint_position, gripper: gripper}        # the robot's action groups, in order
      relative: [joint.waist, joint.elbow]                   # the model predicts these minus the current state
    policy_hz: 50
    embodiments: [my_arm]
    statistics: trossen                     # which set, where the folder has several (asset id, unnorm_key)
    constant: [gripper]                     # dimensions that never moved in training
    units: {joint.waist: deg, gripper: percent}    # of the checkpoint's data, where the robot has rad, m, 0 .. 1
    rows: 50                                # of a chunk, where the folder does not state it
    heads: {language: 8, kv: 1, vision: 16} # attention heads, where the sizes are not the published ones
    compatibility: [letterbox_lerobot_0_4_4]
    rt2: {step_m: 0.04, step_rad: 0.1, plan: false, action_tokens: rare}   # a paligemma that is to become RT-2

Strict like the embodiment file: an unknown key is refused with its nearest neighbour.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vla_policy.embodiment.spaces import SPACES
from vla_policy.formats.fit import COMPATIBILITY, Heads, PolicyFile, Rt2
from vla_policy.parsing import fields

UNITS = {"deg": math.pi / 180, "percent": 0.01, "mm": 0.001}  # in the robot's rad, 0 .. 1 and m
REQUIRED = ("checkpoint", "cameras", "state", "actions", "policy_hz", "embodiments")
OPTIONAL = (
    "format", "tokenizer", "statistics", "constant", "units", "rows", "heads", "compatibility", "rt2",
)  # fmt: skip


def read_policy_file(path: Path, *, must_exist: bool = True) -> PolicyFile:
    """Raises ValueError with the file, the key, what was got and what was expected.

    must_exist: require that the checkpoint and the tokenizer exist.
    """
    content, place = fields.read_yaml(path)
    if content is None:
        raise ValueError(
            f"{path}: empty, expected a policy file: `vla inspect FOLDER --policy-file --robot ROBOT` prints one, or says why not"
        )
    # The formats need torch; the rest of this module does not.
    from vla_policy.formats.kinds import FORMATS, OWN

    said = ("auto", OWN, *sorted(n for n, f in FORMATS.items() if f.said_as is None))
    data = fields.mapping(content, place, REQUIRED, OPTIONAL)
    actions = fields.mapping(
        data["actions"], place.at("actions"), ("names", "spaces"), ("relative",)
    )
    at = place.at("actions")
    action_names = fields.names(actions["names"], at.at("names"), "action columns")
    state_names = fields.names(data["state"], place.at("state"), "state entries")
    return PolicyFile(
        path=path,
        checkpoint=_path(data["checkpoint"], place.at("checkpoint"), path, "a folder", must_exist),
        format=fields.choice(data.get("format", "auto"), place.at("format"), said),
        tokenizer=_path(data["tokenizer"], place.at("tokenizer"), path, "a file", must_exist)
        if "tokenizer" in data
        else None,
        cameras=_cameras(data["cameras"], place.at("cameras")),
        state_names=state_names,
        action_names=action_names,
        spaces=tuple(
            (group, fields.choice(space, at.at("spaces").at(group), tuple(SPACES)))
            for group, space in fields.named(
                actions["spaces"], at.at("spaces"), "action groups"
            ).items()
        ),
        relative=_some_of(
            actions.get("relative"), at.at("relative"), tuple(n for n in action_names if n in state_names),
            "action columns that are also in the state",
        ),
        policy_hz=fields.number(data["policy_hz"], place.at("policy_hz"), 0.1, 1000.0, "Hz"),
        embodiments=fields.names(data["embodiments"], place.at("embodiments"), "robots"),
        statistics=fields.text(data["statistics"], place.at("statistics"), "a name")
        if "statistics" in data
        else None,
        constant=_some_of(
            data.get("constant"), place.at("constant"), (*state_names, *action_names),
            "state entries or action columns",
        ),
        units=_units(data["units"], place.at("units"), (*state_names, *action_names))
        if "units" in data
        else MappingProxyType({}),
        rows=_whole(data["rows"], place.at("rows"), 1000) if "rows" in data else None,
        heads=_heads(data["heads"], place.at("heads")) if "heads" in data else None,
        compatibility=_some_of(
            data.get("compatibility"), place.at("compatibility"), tuple(COMPATIBILITY), "switches"
        ),
        rt2=_rt2(data["rt2"], place.at("rt2")) if "rt2" in data else None,
    )  # fmt: skip


def _path(value: Any, place: fields.Place, file: Path, what: str, must_exist: bool) -> Path:
    path = Path(os.path.expanduser(fields.text(value, place, what)))
    # realpath: for files in a loop of links, where resolve() raises.
    path = path if path.is_absolute() else Path(os.path.realpath(file)).parent / path
    if must_exist and not path.exists():
        raise place.refuse(str(path), f"{what} that exists")
    return path


def _cameras(value: Any, place: fields.Place) -> tuple[tuple[str, str], ...]:
    pairs = tuple(
        (slot, fields.text(robot, place.at(slot), "the name of a robot's camera", fields.NAME))
        for slot, robot in fields.named(value, place, "the checkpoint's camera names").items()
    )
    for i, (slot, robot) in enumerate(pairs):
        if robot in [r for _, r in pairs[:i]]:
            raise place.at(slot).refuse(robot, "a camera that is not there twice")
    return pairs


def _some_of(
    value: Any, place: fields.Place, options: tuple[str, ...], what: str
) -> tuple[str, ...]:
    if value is None:
        return ()
    found = fields.names(value, place, what)
    for i, name in enumerate(found):
        fields.choice(name, place.at(i), options)
    return found


def _units(value: Any, place: fields.Place, names: tuple[str, ...]) -> Mapping[str, float]:
    units = {}
    for name, unit in fields.named(value, place, "state entries or action columns").items():
        fields.choice(name, place, names)
        units[name] = UNITS[fields.choice(unit, place.at(name), tuple(UNITS))]
    return MappingProxyType(units)


def _heads(value: Any, place: fields.Place) -> Heads:
    data: Mapping[str, Any] = fields.mapping(value, place, ("language", "kv", "vision"))
    return Heads(**{key: _whole(count, place.at(key), 256) for key, count in data.items()})


def _rt2(value: Any, place: fields.Place) -> Rt2:
    data = fields.mapping(value, place, ("step_m", "step_rad"), ("plan", "action_tokens"))
    plan = data.get("plan", False)
    if not isinstance(plan, bool):
        raise place.at("plan").refuse(plan, "true or false")
    return Rt2(
        step_m=fields.number(data["step_m"], place.at("step_m"), 0.001, 1.0, "m"),
        step_rad=fields.number(data["step_rad"], place.at("step_rad"), 0.001, 3.0, "rad"),
        plan=plan,
        action_tokens=fields.choice(
            data.get("action_tokens", "rare"), place.at("action_tokens"), ("rare", "loc")
        ),
    )


def _whole(value: Any, place: fields.Place, high: int) -> int:
    count = fields.number(value, place, 1, high)
    if count != int(count):
        raise place.refuse(value, "a whole number")
    return int(count)
