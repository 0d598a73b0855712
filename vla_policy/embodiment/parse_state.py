"""Parses the state of an embodiment file: topics of joints and tool poses."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from vla_policy.embodiment.description import Joints, PoseSource
from vla_policy.embodiment.joint_units import JointEncoding, calibrated, degrees
from vla_policy.embodiment.spaces import JOINT_UNITS
from vla_policy.parsing import fields as f
from vla_policy.parsing.fields import Place


def read_joints(value: Any, place: Place) -> Joints:
    """The key `joints`."""
    keys = ("topic", "names", "unit", "lower", "upper", "max_age_s")
    fields = f.mapping(value, place, keys, ("wire",))
    names = f.names(fields["names"], place.at("names"), "joints")
    lower = f.numbers(fields["lower"], place.at("lower"), len(names), -1000, 1000)
    upper = f.numbers(fields["upper"], place.at("upper"), len(names), -1000, 1000)
    f.require_ordered(place, lower, upper, names)
    unit = f.choice(fields["unit"], place.at("unit"), JOINT_UNITS)
    topics = _topics(fields["topic"], place.at("topic"))
    for i, name in enumerate(names):
        # Drivers name joints without a slash: the part before a slash is a topic's prefix.
        known = tuple(p for p in topics.values() if p or "/" not in name)
        if not name.startswith(known):
            prefixes = ", ".join(repr(p) for p in topics.values())
            raise place.at("names").at(i).refuse(name, f"a prefix of joints.topic: {prefixes}")
    return Joints(
        topics=topics,
        names=names,
        unit=unit,
        lower=lower,
        upper=upper,
        max_age_s=f.age(fields["max_age_s"], place.at("max_age_s")),
        wire=_wire(fields["wire"], place.at("wire"), len(names), unit)
        if "wire" in fields
        else None,
    )


def read_poses(value: Any, place: Place, *, model: bool) -> MappingProxyType[str, PoseSource]:
    """The key `ee_pose`: one source, or one for each of several tools; empty without it.

    model: whether the file has a model, for forward kinematics.
    """
    if value is None:
        return MappingProxyType({})
    several = isinstance(value, dict) and any(str(key).endswith(".ee") for key in value)
    entries = {key: (entry, place.at(key)) for key, entry in value.items()} if several else {}
    for key, (_, at) in entries.items():
        f.text(key, at, "a tool: one word and '.ee'", f.TOOL)
    entries = entries or {"ee": (value, place)}
    poses = {tool: _pose(entry, at, model) for tool, (entry, at) in entries.items()}
    if several:
        f.require_distinct(place, "topic", {tool: pose.topic for tool, pose in poses.items()})
    return MappingProxyType(poses)


def _topics(value: Any, place: Place) -> MappingProxyType[str, str]:
    """One topic, or several with the prefix of their joints' names ('' for none)."""
    if isinstance(value, str):
        return MappingProxyType({f.topic(value, place): ""})
    if not isinstance(value, dict) or not value:
        raise place.refuse(value, "a topic, or a mapping from topics to prefixes of joint names")
    for topic, prefix in value.items():
        f.topic(topic, place)
        if prefix != "":
            f.text(prefix, place.at(topic), "a prefix of joint names, '' for none", f.NAME)
    return MappingProxyType(dict(value))


def _wire(value: Any, place: Place, joints: int, unit: str) -> JointEncoding:
    kind = value.get("unit") if isinstance(value, dict) else None
    keys: tuple[str, ...]
    if kind == "range":
        keys = ("unit", "low", "high", "at_low", "at_high")
    else:
        keys = ("unit",)
    fields = f.mapping(value, place, keys)
    f.choice(fields["unit"], place.at("unit"), ("deg", "range"))
    if kind == "deg":
        if unit != "rad":
            raise place.at("unit").refuse("deg", f"a wire unit for joints in {unit}")
        return degrees(joints)
    low = f.number(fields["low"], place.at("low"), -1e6, 1e6)
    high = f.number(fields["high"], place.at("high"), -1e6, 1e6)
    if not low < high:
        raise place.at("high").refuse(high, f"more than low, {low:g}")
    at_low = f.numbers(fields["at_low"], place.at("at_low"), joints, -1000, 1000)
    at_high = f.numbers(fields["at_high"], place.at("at_high"), joints, -1000, 1000)
    for i in range(joints):
        if at_low[i] == at_high[i]:
            raise place.at("at_high").at(i).refuse(float(at_high[i]), "a value unlike at_low's")
    return calibrated(low, high, at_low, at_high)


def _pose(value: Any, place: Place, model: bool) -> PoseSource:
    kinds = {"topic": "topic", "tf_frame": "tf", "model_body": "model"}
    found = [key for key in kinds if isinstance(value, dict) and key in value]
    key = found[0] if found else "topic"
    fields = f.mapping(value, place, (key, "max_age_s"))
    max_age_s = f.age(fields["max_age_s"], place.at("max_age_s"))
    if key == "topic":
        return PoseSource(f.topic(fields["topic"], place.at("topic")), max_age_s)
    frame = f.text(fields[key], place.at(key), "the name of a frame or body", f.NAME)
    if key == "model_body" and not model:
        raise place.at(key).refuse(frame, "the key model, the URDF or MJCF that has this body")
    words = f"tf of {frame}" if key == "tf_frame" else f"kinematics of {frame}"
    return PoseSource(words, max_age_s, kinds[key], frame)
