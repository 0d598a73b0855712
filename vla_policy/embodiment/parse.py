"""Parses an embodiment file and refuses missing, unknown and contradictory keys.

Nothing has a default: a forgotten limit must not become a number that nobody chose. A limit that
no action group uses is refused, because nothing would enforce it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vla_policy.embodiment.description import (
    ActionGroup,
    Camera,
    Embodiment,
    GroupLimits,
    Joints,
    Limits,
    Model,
    PoseSource,
    Rates,
    View,
    Workspace,
)
from vla_policy.embodiment.parse_outputs import read_outputs
from vla_policy.embodiment.parse_state import read_joints, read_poses
from vla_policy.embodiment.spaces import (
    AXES,
    BASE_TWIST,
    CAMERA_TYPES,
    GRIPPER,
    JOINT_PREFIX,
    LIMIT_RANGES,
    POSITION,
    ROTATIONS,
    SPACES,
    TWIST,
)
from vla_policy.parsing import fields as f
from vla_policy.parsing.fields import Place
from vla_policy.types import required

MEASURED_POSE = (POSITION, ROTATIONS["quaternion_xyzw"])
SIDE = re.compile(r"([A-Za-z0-9_]+\.)?")  # prefix such as 'left.' of one of several arms


def parse_embodiment(content: Any, place: Place) -> Embodiment:
    """The embodiment in plain data that was read from place."""
    required = ("name", "description", "base_frame", "tool_frame", "rates", "cameras",
                "camera_max_skew_s", "joints", "state", "actions", "limits",
                "outputs")  # fmt: skip
    top = f.mapping(content, place, required, ("ee_pose", "model"))
    base_frame = f.text(top["base_frame"], place.at("base_frame"), "the name of a frame", f.NAME)
    tool_frame = f.text(top["tool_frame"], place.at("tool_frame"), "the name of a frame", f.NAME)
    joints = read_joints(top["joints"], place.at("joints"))
    actions = _actions(top["actions"], place.at("actions"), joints, (base_frame, tool_frame))
    poses = read_poses(top.get("ee_pose"), place.at("ee_pose"), model="model" in top)
    state = _state(top["state"], place.at("state"), joints, actions)
    rates = _rates(top["rates"], place.at("rates"))
    _require_poses(state, actions, poses, place.at("ee_pose"))
    return Embodiment(
        name=f.text(top["name"], place.at("name"), "the name of the robot", f.NAME),
        description=f.text(top["description"], place.at("description"), "a sentence"),
        base_frame=base_frame,
        tool_frame=tool_frame,
        rates=rates,
        cameras=_cameras(top["cameras"], place.at("cameras")),
        camera_max_skew_s=f.number(
            top["camera_max_skew_s"], place.at("camera_max_skew_s"), 0.001, 5, "s"
        ),
        joints=joints,
        poses=poses,
        state=state,
        actions=actions,
        limits=_limits(top["limits"], place.at("limits"), actions),
        outputs=read_outputs(top["outputs"], place.at("outputs"), actions, rates, joints),
        model=_model(top["model"], place.at("model")) if "model" in top else None,
    )


def _rates(value: Any, place: Place) -> Rates:
    fields = f.mapping(value, place, ("policy_hz", "command_hz"))
    policy_hz = f.number(fields["policy_hz"], place.at("policy_hz"), 0.1, 200, "Hz")
    command_hz = f.number(fields["command_hz"], place.at("command_hz"), 1, 1000, "Hz")
    if not command_hz >= policy_hz:
        raise place.at("command_hz").refuse(command_hz, f"at least policy_hz, {policy_hz:g}")
    return Rates(policy_hz, command_hz)


def _cameras(value: Any, place: Place) -> MappingProxyType[str, Camera]:
    cameras = {}
    for name, entry in f.named(value, place, "names of cameras").items():
        at = place.at(name)
        fields = f.mapping(entry, at, ("topic", "type", "max_age_s", "max_still_s"), ("view",))
        cameras[name] = Camera(
            name=name,
            topic=f.topic(fields["topic"], at.at("topic")),
            type=f.choice(fields["type"], at.at("type"), CAMERA_TYPES),
            max_age_s=f.age(fields["max_age_s"], at.at("max_age_s")),
            max_still_s=f.number(fields["max_still_s"], at.at("max_still_s"), 0.1, 3600, "s"),
            view=_view(fields["view"], at.at("view")) if "view" in fields else None,
        )
    f.require_distinct(place, "topic", {n: c.topic for n, c in cameras.items()})
    return MappingProxyType(cameras)


def _view(value: Any, place: Place) -> View:
    fields = f.mapping(value, place, ("position_m", "target_m", "fovy_deg"), ("up",))
    position, target, up = (
        f.numbers(fields.get(key, [0.0, 0.0, 1.0]), place.at(key), 3, -20.0, 20.0, unit)
        for key, unit in (("position_m", "m"), ("target_m", "m"), ("up", ""))
    )
    way = target - position
    if not np.linalg.norm(np.cross(way, up)) > 1e-3 * np.linalg.norm(way) > 0.0:
        raise place.refuse(
            value, "a target away from position, and an up that is not on the way to it"
        )
    fovy_deg = f.number(fields["fovy_deg"], place.at("fovy_deg"), 1.0, 170.0, "deg")
    return View(_triple(position), _triple(target), fovy_deg, _triple(up))


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z


def _state(
    value: Any, place: Place, joints: Joints, actions: tuple[ActionGroup, ...]
) -> tuple[str, ...]:
    """Each name must be a measured joint, pose or gripper."""
    state = f.names(value, place, "state values")
    sides = {name.rpartition("ee.")[0] for name in state if "ee." in name}
    poses = [tuple(side + n for n in whole) for side in sorted(sides) for whole in MEASURED_POSE]
    grippers = [name for a in actions if a.space == "gripper" for name in a.names]
    known = (*(n for pose in poses for n in pose), *grippers)
    known += tuple(JOINT_PREFIX + n for n in joints.names)
    for i, name in enumerate(state):
        f.choice(name, place.at(i), known or tuple(n for whole in MEASURED_POSE for n in whole))
    for whole in poses:
        if set(whole) & set(state) not in (set(), set(whole)):
            raise place.refuse(list(state), f"all of {', '.join(whole)} or none")
    return state


def _require_poses(
    state: tuple[str, ...],
    actions: tuple[ActionGroup, ...],
    poses: Mapping[str, PoseSource],
    place: Place,
) -> None:
    """Every tool in the state or the actions must have a measured pose."""
    tools = {name.rpartition(".")[0] for name in state if name.rpartition(".")[0].endswith("ee")}
    tools |= {a.names[0].rpartition(".")[0] for a in actions if a.space.startswith("ee_")}
    missing = sorted(tools - set(poses))
    if missing:
        raise place.refuse(
            ", ".join(poses) or "nothing",
            f"a source of the pose of {', '.join(missing)}, which state or actions speak of",
        )


def _actions(
    value: Any, place: Place, joints: Joints, frames: tuple[str, str]
) -> tuple[ActionGroup, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= f.MANY:
        raise place.refuse(value, f"a list of action groups, at least one and at most {f.MANY}")
    groups = tuple(_action(v, place.at(i), joints, frames) for i, v in enumerate(value))
    for i, group in enumerate(groups):
        if group.name in [g.name for g in groups[:i]]:
            raise place.at(i).at("group").refuse(group.name, "a name that is not there twice")
        taken = {n for g in groups[:i] for n in g.names}
        if taken & set(group.names):
            raise (
                place.at(i)
                .at("names")
                .refuse(sorted(taken & set(group.names)), "names of no other group")
            )
    return groups


def _action(value: Any, place: Place, joints: Joints, frames: tuple[str, str]) -> ActionGroup:
    if not isinstance(value, dict) or "space" not in value:
        f.mapping(value, place, ("group", "space", "unit", "reference", "names"),
                  ("frame", "rotation", "open", "closed"))  # fmt: skip
    space = SPACES[f.choice(value["space"], place.at("space"), tuple(SPACES))]
    fields = f.mapping(value, place, ("group", "space", "unit", "reference", "names", *space.keys))
    group = ActionGroup(
        name=f.text(fields["group"], place.at("group"), "the name of the group", f.NAME),
        space=fields["space"],
        unit=f.choice(fields["unit"], place.at("unit"), space.units),
        reference=f.choice(fields["reference"], place.at("reference"), space.references),
        names=f.names(fields["names"], place.at("names"), "columns"),
        frame=_frame(fields, place, frames),
        rotation=f.choice(fields["rotation"], place.at("rotation"), tuple(ROTATIONS))
        if "rotation" in fields
        else None,
        open=f.number(fields["open"], place.at("open"), 0, 1) if "open" in fields else None,
        closed=f.number(fields["closed"], place.at("closed"), 0, 1)
        if "closed" in fields
        else None,
    )
    if group.open is not None and {group.open, group.closed} != {0.0, 1.0}:
        raise place.at("open").refuse(
            f"open {group.open:g} and closed {group.closed:g}", "one of them 0, the other 1"
        )
    if group.space.startswith("joint_") and group.unit not in (joints.unit, "deg"):
        raise place.at("unit").refuse(group.unit, f"{joints.unit}, the unit of the joints, or deg")
    if group.unit == "deg" and joints.unit != "rad":
        raise place.at("unit").refuse("deg", f"{joints.unit}, the unit of the joints")
    _require_columns(group, joints, place.at("names"))
    return group


def _frame(fields: dict[str, Any], place: Place, frames: tuple[str, str]) -> str | None:
    """frames: of the base and of the tool. Only steps may be along the tool's axes."""
    if "frame" not in fields:
        return None
    known = frames if fields["space"] == "ee_delta" else frames[:1]
    return f.choice(fields["frame"], place.at("frame"), known)


def _require_columns(group: ActionGroup, joints: Joints, place: Place) -> None:
    """Joints in any order, or the columns of the space, each with a prefix such as 'left.'."""
    if group.space.startswith("joint_"):
        for i, name in enumerate(group.names):
            f.choice(name, place.at(i), tuple(JOINT_PREFIX + n for n in joints.names))
        return
    if group.space == "base_twist":
        # A base that cannot move sideways lacks that column.
        if group.names != tuple(name for name in BASE_TWIST if name in group.names):
            raise place.refuse(
                list(group.names), f"some of {', '.join(BASE_TWIST)}, in that order"
            )
        return
    plain = {"ee_twist": TWIST, "gripper": GRIPPER}.get(group.space)
    if plain is None:
        plain = POSITION + ROTATIONS[required(group.rotation, f"{group.name}: rotation")]
    side = group.names[0].removesuffix(plain[0])
    if SIDE.fullmatch(side) is None or group.names != tuple(side + name for name in plain):
        raise place.refuse(
            list(group.names),
            f"{list(plain)} for space {group.space}, or each after one word and a dot",
        )


def _limits(value: Any, place: Place, actions: tuple[ActionGroup, ...]) -> Limits:
    times = ("max_chunk_age_s", "engage_fade_s")
    fields = f.mapping(value, place, (*times, *(a.name for a in actions)), ("keep_out",))

    def number(key: str) -> float:
        return f.number(fields[key], place.at(key), *LIMIT_RANGES[key])

    return Limits(
        number(times[0]),
        number(times[1]),
        _boxes(fields["keep_out"], place.at("keep_out")) if "keep_out" in fields else (),
        MappingProxyType(
            {a.name: _group_limits(fields[a.name], place.at(a.name), a) for a in actions}
        ),
    )


def _group_limits(value: Any, place: Place, group: ActionGroup) -> GroupLimits:
    read: dict[str, Any] = {}
    for key, entry in f.mapping(value, place, SPACES[group.space].limits).items():
        if key == "workspace":
            read[key] = _workspace(entry, place.at(key))
        elif key.startswith("joint_"):
            read[key] = f.numbers(entry, place.at(key), len(group.names), *LIMIT_RANGES[key])
        else:
            read[key] = f.number(entry, place.at(key), *LIMIT_RANGES[key])
    return GroupLimits(**read)


def _workspace(value: Any, place: Place) -> Workspace:
    fields = f.mapping(value, place, ("lower", "upper"))
    lower = f.numbers(fields["lower"], place.at("lower"), 3, -10, 10, "m")
    upper = f.numbers(fields["upper"], place.at("upper"), 3, -10, 10, "m")
    f.require_ordered(place, lower, upper, AXES)
    return Workspace(lower, upper)


def _boxes(value: Any, place: Place) -> tuple[Workspace, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= f.MANY:
        raise place.refuse(value, f"a list of boxes, at least one and at most {f.MANY}")
    return tuple(_workspace(box, place.at(i)) for i, box in enumerate(value))


def _model(value: Any, place: Place) -> Model:
    keys = ("file", "clearance_m", "ignore", "joint_margin", "singular_value")
    fields = f.mapping(value, place, keys)
    name = f.text(fields["file"], place.at("file"), "the path of a URDF or MJCF file")
    pairs = fields["ignore"]
    if not isinstance(pairs, list) or len(pairs) > 4 * f.MANY:
        raise place.at("ignore").refuse(pairs, "a list of pairs of bodies, [] for none")
    ignore = []
    for i, pair in enumerate(pairs):
        names = f.names(pair, place.at("ignore").at(i), "bodies")
        if len(names) != 2:
            raise place.at("ignore").at(i).refuse(pair, "the names of two bodies")
        ignore.append((names[0], names[1]))
    return Model(
        file=Path(place.file).parent / name,
        clearance_m=f.number(fields["clearance_m"], place.at("clearance_m"), 0, 0.2, "m"),
        ignore=tuple(ignore),
        joint_margin=f.number(fields["joint_margin"], place.at("joint_margin"), 0, 1),
        singular_value=f.number(fields["singular_value"], place.at("singular_value"), 0, 1),
    )
