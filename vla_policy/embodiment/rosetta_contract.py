"""Draft of a robot file from a Rosetta contract: `vla inspect CONTRACT.yaml --robot-file`.

The contract (github.com/iblnkn/rosetta, doc/reference/contract.md, version 2) maps topics to the
columns of a data set. Its cameras, joints, state, rate and action groups are copied. What it lacks
(frames, ranges, limits, ages) becomes a placeholder, refused by every parser until a person has
replaced it. Entries without a counterpart are listed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_policy.embodiment.spaces import JOINT_PREFIX
from vla_policy.parsing import fields as f
from vla_policy.parsing.fields import Place

FILL = "<FILL>"  # placeholder: no valid name, topic or number
IMAGES = "observation.images."
CAMERAS = {"sensor_msgs/msg/Image": "image", "sensor_msgs/msg/CompressedImage": "compressed"}
JOINT_STATE = "sensor_msgs/msg/JointState"
POSITION = re.compile(r"position\.(\w+(?:/\w+)*)")
# Message of an action -> the output type for it.
OUTPUTS = {
    "trajectory_msgs/msg/JointTrajectory": "joint_trajectory",
    "std_msgs/msg/Float64MultiArray": "float64_multi_array",
}
TWISTS = ("geometry_msgs/msg/TwistStamped",)
BASE = {"linear.x": "base.vx", "linear.y": "base.vy", "angular.z": "base.wz"}
LIMITS = ("joint_speed_per_s", "joint_acceleration_per_s2")


@dataclass(frozen=True, slots=True)
class ContractSource:
    """One source of an entry. select: fields of its message. applies: names of its operators."""

    key: str
    topic: str
    type: str
    select: tuple[str, ...]
    applies: tuple[str, ...]

    @property
    def joints(self) -> tuple[str, ...]:
        """Names of the joints whose positions it selects."""
        found = [POSITION.fullmatch(name) for name in self.select]
        return tuple(name[1] for name in found if name)

    @property
    def others(self) -> tuple[str, ...]:
        """What it selects other than joint positions."""
        return tuple(name for name in self.select if not POSITION.fullmatch(name))


def draft_robot_file(path: Path) -> str:
    """The text of the robot file.

    Raises ValueError, with the place, for any other kind of file.
    """
    content, place = f.read_yaml(path)
    top = f.named(content, place, "a contract: robot_type, fps, observations, actions")
    for key in ("robot_type", "fps", "observations", "actions"):
        if key not in top:
            raise place.at(key).refuse("nothing", "it, as in every contract")
    observed = list(_sources(top["observations"], place.at("observations")))
    acted = list(_sources(top["actions"], place.at("actions")))
    return "\n".join(_lines(path, top, place, observed, acted)) + "\n"


def _lines(
    path: Path,
    top: dict[str, Any],
    place: Place,
    observed: list[ContractSource],
    acted: list[ContractSource],
) -> Iterator[str]:
    cameras = [s for s in observed if s.key.startswith(IMAGES) and s.type in CAMERAS]
    joints = [s for s in observed if s.type == JOINT_STATE and s.joints]
    rate = f.number(top["fps"], place.at("fps"), 0.1, 1000.0, "Hz")
    name = f.text(top["robot_type"], place.at("robot_type"), "the robot's name", f.NAME)
    yield f"# From {path.name}. Write what stands as {FILL}, then: vla check embodiment THIS_FILE"
    yield f"name: {name}"
    yield f"description: {name}, by its Rosetta contract"
    yield f"base_frame: {FILL}"
    yield f"tool_frame: {FILL}"
    yield "\nrates:"
    yield f"  policy_hz: {rate:g}"
    yield f"  command_hz: {FILL}   # at least the policy's"
    yield "\ncameras:"
    for source in cameras:
        camera = source.key.removeprefix(IMAGES).replace(".", "_")
        yield f"  {camera}: {{topic: {source.topic.lstrip('/')}, type: {CAMERAS[source.type]}, max_age_s: {FILL}, max_still_s: {FILL}}}"
    yield f"camera_max_skew_s: {FILL}"
    yield from _joint_lines(joints)
    yield from _action_lines(acted)
    used = {id(s) for s in (*cameras, *joints, *(s for s in acted if _group(s) is not None))}
    left = [s for s in (*observed, *acted) if id(s) not in used]
    left += [ContractSource(s.key, s.topic, s.type, s.others, ()) for s in joints if s.others]
    if left:
        yield "\n# Of the contract, this has no place here:"
        yield from (f"#   {s.key}: {s.type} on {s.topic}{_selected(s)}" for s in left)
    if any("rad2deg" in s.applies for s in (*joints, *acted)):
        yield "# Data sets of this contract are in degrees where it says rad2deg: a policy trained on them needs"
        yield "# `units:` in its policy file (docs/checkpoints.md); on the topics, and here, they are radians."


def _joint_lines(sources: list[ContractSource]) -> Iterator[str]:
    names = [name for source in sources for name in source.joints]
    many = len({s.topic for s in sources}) > 1
    yield "\njoints:"
    if many:
        yield "  topic:   # a prefix where joints of two topics have equal names"
        yield from (f"    {s.topic.lstrip('/')}: ''" for s in sources)
    else:
        yield f"  topic: {sources[0].topic.lstrip('/') if sources else FILL}"
    yield f"  names: [{', '.join(names) or FILL}]"
    yield "  unit: rad"
    yield f"  lower: [{', '.join([FILL] * max(1, len(names)))}]   # from the URDF"
    yield f"  upper: [{', '.join([FILL] * max(1, len(names)))}]"
    yield f"  max_age_s: {FILL}"
    yield f"\nstate: [{', '.join(JOINT_PREFIX + name for name in names) or FILL}]"


def _action_lines(sources: list[ContractSource]) -> Iterator[str]:
    groups = [(s, g) for s in sources if (g := _group(s)) is not None]
    names = _distinct([kind for _, (kind, _) in groups])
    yield "\nactions:"
    for name, (_, (kind, columns)) in zip(names, groups, strict=True):
        yield f"  - group: {name}"
        yield f"    space: {'base_twist' if kind == 'base' else 'joint_position'}"
        if kind == "base":
            yield f"    frame: {FILL}"
        yield f"    unit: {'m_s' if kind == 'base' else 'rad'}"
        yield "    reference: absolute"
        yield f"    names: [{', '.join(columns)}]"
    yield "\nlimits:"
    yield f"  max_chunk_age_s: {FILL}"
    yield f"  engage_fade_s: {FILL}"
    for name, (_, (kind, columns)) in zip(names, groups, strict=True):
        yield f"  {name}:"
        if kind == "base":
            for limit in ("linear_speed_m_s", "linear_acceleration_m_s2", "angular_speed_rad_s", "angular_acceleration_rad_s2"):  # fmt: skip
                yield f"    {limit}: {FILL}"
            continue
        for limit in LIMITS:
            yield f"    {limit}: [{', '.join([FILL] * len(columns))}]"
        yield f"    start_jump_rad: {FILL}"
    yield "\noutputs:"
    for name, (source, (kind, _)) in zip(names, groups, strict=True):
        output = "twist" if kind == "base" else OUTPUTS.get(source.type, FILL)
        note = (
            ""
            if output != FILL
            else f"   # no controller takes {source.type}; see docs/your_own_robot.md"
        )
        yield f"  {name}: {{type: {output}, topic: {source.topic.lstrip('/')}}}{note}"


def _group(source: ContractSource) -> tuple[str, tuple[str, ...]] | None:
    """('arm' or 'base', columns) of an action; None if it is neither joints nor a base."""
    if source.joints and not source.others:
        return "arm", tuple(JOINT_PREFIX + name for name in source.joints)
    fields = [name.removeprefix("twist.") for name in source.select]
    if source.type in TWISTS and fields and all(name in BASE for name in fields):
        return "base", tuple(BASE[name] for name in fields)
    return None


def _distinct(kinds: list[str]) -> list[str]:
    return [kind if kinds.count(kind) == 1 else f"{kind}_{i + 1}" for i, kind in enumerate(kinds)]


def _selected(source: ContractSource) -> str:
    return f", {', '.join(source.select)}" if source.select else ""


def _sources(value: Any, place: Place) -> Iterator[ContractSource]:
    """Of a section: every entry is one source, or a list of them."""
    for key, entry in f.named(value, place, "entries by the names of columns").items():
        at = place.at(key)
        several = entry if isinstance(entry, list) else [entry]
        for i, one in enumerate(several):
            yield _source(key, one, at.at(i) if isinstance(entry, list) else at)


def _source(key: str, value: Any, place: Place) -> ContractSource:
    entry = f.named(value, place, "channel, align, select, apply")
    channel = f.named(entry.get("channel"), place.at("channel"), "topic and type")
    at = place.at("channel")
    return ContractSource(
        key,
        f.topic(channel.get("topic"), at.at("topic")),
        f.text(channel.get("type"), at.at("type"), "a message type such as sensor_msgs/msg/Image"),
        tuple(_words(entry.get("select", []), place.at("select"))),
        tuple(_operator(one, place.at("apply")) for one in _list(entry.get("apply", []), place.at("apply"))),
    )  # fmt: skip


def _list(value: Any, place: Place) -> list[Any]:
    if not isinstance(value, list):
        raise place.refuse(value, "a list")
    return value


def _words(value: Any, place: Place) -> Iterator[str]:
    for i, word in enumerate(_list(value, place)):
        yield f.text(word, place.at(i), "a field of the message")


def _operator(value: Any, place: Place) -> str:
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value))
    return f.text(value, place, "an operator such as rad2deg")
