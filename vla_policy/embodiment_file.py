"""Reads an embodiment file and refuses whatever is missing, unknown or contradicts itself.

Nothing here has a default: a limit that somebody forgot must not become a number that nobody
chose. A limit that no action group uses is refused, because nothing would enforce it.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from . import fields as f
from .embodiment import (
    ActionGroup,
    Camera,
    Embodiment,
    GroupLimits,
    Joints,
    Limits,
    Output,
    PoseSource,
    Rates,
    Workspace,
)
from .fields import Array, Place
from .spaces import (
    BASE_TWIST,
    CAMERA_TYPES,
    GRIPPER,
    JOINT_PREFIX,
    JOINT_UNITS,
    LIMIT_RANGES,
    POSITION,
    ROTATIONS,
    SPACES,
    TWIST,
)

SIDE = re.compile(r"^(\w+\.)?$")  # 'left.' before the columns of one of several arms


def read_embodiment(path: Path) -> Embodiment:
    """The embodiment in a YAML file; ValueError with file, key, got and expected otherwise."""
    content, place = f.read_yaml(path)
    return parse_embodiment(content, place)


def parse_embodiment(content: Any, place: Place) -> Embodiment:
    """The embodiment in plain data that was read from place."""
    required = ("name", "description", "base_frame", "tool_frame", "rates", "cameras",
                "camera_max_skew_s", "joints", "state", "actions", "limits",
                "outputs")  # fmt: skip
    top = f.mapping(content, place, required, ("ee_pose",))
    base_frame = f.text(top["base_frame"], place.at("base_frame"), "the name of a frame", f.NAME)
    joints = _joints(top["joints"], place.at("joints"))
    actions = _actions(top["actions"], place.at("actions"), joints, base_frame)
    state = _state(top["state"], place.at("state"), joints)
    needs_pose = any(n.startswith("ee.") for n in state) or any(
        a.space.startswith("ee_") for a in actions
    )
    if needs_pose and "ee_pose" not in top:
        raise place.at("ee_pose").refuse(
            "nothing", "this key, as state or actions speak of the tool's pose"
        )
    return Embodiment(
        name=f.text(top["name"], place.at("name"), "the name of the robot", f.NAME),
        description=f.text(top["description"], place.at("description"), "a sentence"),
        base_frame=base_frame,
        tool_frame=f.text(
            top["tool_frame"], place.at("tool_frame"), "the name of a frame", f.NAME
        ),
        rates=_rates(top["rates"], place.at("rates")),
        cameras=_cameras(top["cameras"], place.at("cameras")),
        camera_max_skew_s=f.number(
            top["camera_max_skew_s"], place.at("camera_max_skew_s"), 0.001, 5, "s"
        ),
        joints=joints,
        ee_pose=_pose(top["ee_pose"], place.at("ee_pose")) if "ee_pose" in top else None,
        state=state,
        actions=actions,
        limits=_limits(top["limits"], place.at("limits"), actions),
        outputs=_outputs(top["outputs"], place.at("outputs"), actions),
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
        fields = f.mapping(entry, at, ("topic", "type", "max_age_s"))
        cameras[name] = Camera(
            name=name,
            topic=f.topic(fields["topic"], at.at("topic")),
            type=f.choice(fields["type"], at.at("type"), CAMERA_TYPES),
            max_age_s=_age(fields["max_age_s"], at.at("max_age_s")),
        )
    _require_distinct(place, "topic", {n: c.topic for n, c in cameras.items()})
    return MappingProxyType(cameras)


def _joints(value: Any, place: Place) -> Joints:
    fields = f.mapping(value, place, ("topic", "names", "unit", "lower", "upper", "max_age_s"))
    names = f.names(fields["names"], place.at("names"), "joints")
    lower = f.numbers(fields["lower"], place.at("lower"), len(names), -1000, 1000)
    upper = f.numbers(fields["upper"], place.at("upper"), len(names), -1000, 1000)
    _require_ordered(place, lower, upper, names)
    return Joints(
        topic=f.topic(fields["topic"], place.at("topic")),
        names=names,
        unit=f.choice(fields["unit"], place.at("unit"), JOINT_UNITS),
        lower=lower,
        upper=upper,
        max_age_s=_age(fields["max_age_s"], place.at("max_age_s")),
    )


def _pose(value: Any, place: Place) -> PoseSource:
    fields = f.mapping(value, place, ("topic", "max_age_s"))
    return PoseSource(
        f.topic(fields["topic"], place.at("topic")),
        _age(fields["max_age_s"], place.at("max_age_s")),
    )


def _state(value: Any, place: Place, joints: Joints) -> tuple[str, ...]:
    """Each name must be one that the measured joints, pose or gripper give."""
    state = f.names(value, place, "state values")
    known = (
        *POSITION,
        *ROTATIONS["quaternion_xyzw"],
        *GRIPPER,
        *(JOINT_PREFIX + n for n in joints.names),
    )
    for i, name in enumerate(state):
        f.choice(name, place.at(i), known)
    for whole in (POSITION, ROTATIONS["quaternion_xyzw"]):
        if set(whole) & set(state) not in (set(), set(whole)):
            raise place.refuse(list(state), f"all of {', '.join(whole)} or none")
    return state


def _actions(value: Any, place: Place, joints: Joints, base_frame: str) -> tuple[ActionGroup, ...]:
    if not isinstance(value, list) or not value:
        raise place.refuse(value, "a list of action groups, at least one")
    groups = tuple(_action(v, place.at(i), joints, base_frame) for i, v in enumerate(value))
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


def _action(value: Any, place: Place, joints: Joints, base_frame: str) -> ActionGroup:
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
        frame=_frame(fields, place, base_frame),
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
    _require_columns(group, joints, place.at("names"))
    return group


def _frame(fields: dict[str, Any], place: Place, base_frame: str) -> str | None:
    if "frame" not in fields:
        return None
    return f.choice(fields["frame"], place.at("frame"), (base_frame,))


def _require_columns(group: ActionGroup, joints: Joints, place: Place) -> None:
    """Some of the joints, in any order, or the columns of the space, each after 'left.' or so."""
    if group.space.startswith("joint_"):
        for i, name in enumerate(group.names):
            f.choice(name, place.at(i), tuple(JOINT_PREFIX + n for n in joints.names))
        return
    plain = {"ee_twist": TWIST, "gripper": GRIPPER, "base_twist": BASE_TWIST}.get(group.space)
    if plain is None:
        plain = POSITION + ROTATIONS[group.rotation]
    side = group.names[0].removesuffix(plain[0])
    if SIDE.match(side) is None or group.names != tuple(side + name for name in plain):
        raise place.refuse(
            list(group.names),
            f"{list(plain)} for space {group.space}, or each after one word and a dot",
        )


def _limits(value: Any, place: Place, actions: tuple[ActionGroup, ...]) -> Limits:
    fields = f.mapping(value, place, ("max_chunk_age_s", *(a.name for a in actions)))
    return Limits(
        f.number(
            fields["max_chunk_age_s"],
            place.at("max_chunk_age_s"),
            *LIMIT_RANGES["max_chunk_age_s"],
        ),
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
    _require_ordered(place, lower, upper, ("x", "y", "z"))
    return Workspace(lower, upper)


def _outputs(
    value: Any, place: Place, actions: tuple[ActionGroup, ...]
) -> MappingProxyType[str, Output]:
    groups = {a.name: a for a in actions}
    entries = f.mapping(value, place, tuple(groups))
    outputs = {
        name: _output(entries[name], place.at(name), group) for name, group in groups.items()
    }
    _require_distinct(place, "topic", {n: o.topic for n, o in outputs.items()})
    return MappingProxyType(outputs)


def _output(value: Any, place: Place, group: ActionGroup) -> Output:
    keys = ("joint", "closed", "open") if group.space == "gripper" else ()
    fields = f.mapping(value, place, ("type", "topic", *keys))
    kind = f.choice(fields["type"], place.at("type"), SPACES[group.space].outputs)
    topic = f.topic(fields["topic"], place.at("topic"))
    if not keys:
        return Output(kind, topic)
    closed = f.number(fields["closed"], place.at("closed"), -10, 10)
    open_ = f.number(fields["open"], place.at("open"), -10, 10)
    if closed == open_:
        raise place.at("open").refuse(open_, f"a position that differs from closed, {closed:g}")
    return Output(
        kind,
        topic,
        f.text(fields["joint"], place.at("joint"), "the name of a joint", f.NAME),
        closed,
        open_,
    )


def _age(value: Any, place: Place) -> float:
    return f.number(value, place, 0.01, 10, "s")


def _require_ordered(place: Place, lower: Array, upper: Array, names: tuple[str, ...]) -> None:
    for i in np.flatnonzero(~(lower < upper)):
        raise (
            place.at("upper")
            .at(int(i))
            .refuse(float(upper[i]), f"more than lower, {lower[i]:g}, for {names[i]}")
        )


def _require_distinct(place: Place, key: str, values: dict[str, str]) -> None:
    for i, (name, value) in enumerate(values.items()):
        if value in list(values.values())[:i]:
            raise place.at(name).at(key).refuse(value, "a topic that is not there twice")
