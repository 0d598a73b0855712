"""Reads config/teleop/<device>.yaml; refuses missing, unknown and invalid keys."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vla_policy.geometry.quaternions import rotvec_to_quaternion
from vla_policy.parsing import fields as f
from vla_policy.parsing.fields import Place, read_yaml
from vla_policy.paths import config_dir
from vla_policy.teleop.device import (
    ALWAYS,
    BUTTON,
    CENTRE,
    EVENTS,
    JOY,
    KINDS,
    TOOL_RATES,
    TOPIC,
    Axis,
    DeadMan,
    Device,
    LeaderGripper,
    LeaderJoint,
)
from vla_policy.types import readonly

COMMON = ("kind", "topic", "type", "max_age_s", "stamps", "dead_man", "speed")
MOVES = {
    "gamepad": ("axes",),
    "spacemouse": ("axes",),
    "keyboard": ("axes",),
    "hand": ("scale", "turn_rad", "max_step_m"),
    "leader": ("ease_s", "joints"),
}
OPTIONAL = {
    "gamepad": ("events", "dead_zone", "frame", "joint_axes", "gripper"),
    "spacemouse": ("events", "dead_zone", "frame", "joint_axes", "gripper", "gripper_topic"),
    "keyboard": ("dead_zone", "frame", "joint_axes", "gripper_topic"),
    "hand": ("events", "gripper_topic"),
    "leader": ("events", "gripper"),
}
MAX_INDEX = 63


def device_names() -> tuple[str, ...]:
    """Names of the devices shipped with the package."""
    return tuple(sorted(p.stem for p in (config_dir() / "teleop").glob("*.yaml")))


def load_device(name_or_path: str) -> Device:
    """The device of a shipped name ('gamepad') or of a YAML file. Raises ValueError."""
    if name_or_path.endswith((".yaml", ".yml")) or "/" in name_or_path:
        path = Path(name_or_path)
    elif name_or_path in device_names():
        path = config_dir() / "teleop" / f"{name_or_path}.yaml"
    else:
        raise ValueError(
            f"device: got {name_or_path!r}, expected one of {', '.join(device_names())} "
            "or the path of a .yaml file"
        )
    content, place = read_yaml(path)
    return parse_device(content, place, path.stem)


def parse_device(content: Any, place: Place, name: str) -> Device:
    """The device in plain data that was read from place."""
    if not isinstance(content, dict):
        raise place.refuse(content, f"a mapping with {', '.join(COMMON)}")
    kind = f.choice(content.get("kind"), place.at("kind"), tuple(KINDS))
    top = f.mapping(content, place, (*COMMON, *MOVES[kind]), OPTIONAL[kind])
    types, hands = KINDS[kind]
    message = f.choice(top["type"], place.at("type"), types)
    topic = f.topic(top["topic"], place.at("topic"))
    stamps = f.choice(top["stamps"], place.at("stamps"), ("header", "arrival"))
    dead_man = _dead_man(top["dead_man"], place.at("dead_man"), hands, joy=message == JOY)
    speed = f.number(top["speed"], place.at("speed"), 0.01, 1.0)
    read = {"gamepad": _axes, "spacemouse": _axes, "keyboard": _axes, "hand": _hand}
    moves = read.get(kind, _leader)(top, place)
    topic_of_gripper = top.get("gripper_topic", "")
    if topic_of_gripper:
        f.topic(topic_of_gripper, place.at("gripper_topic"))
    has_buttons = message == JOY or (dead_man.how == BUTTON)
    return Device(
        name=name,
        kind=kind,
        topic=topic,
        type=message,
        max_age_s=f.age(top["max_age_s"], place.at("max_age_s")),
        arrival=stamps == "arrival",
        dead_man=dead_man,
        speed=speed,
        events=_events(top.get("events"), place.at("events"), dead_man, has_buttons=has_buttons),
        gripper_topic=topic_of_gripper,
        **moves,
    )


def _dead_man(value: Any, place: Place, hands: tuple[str, ...], *, joy: bool) -> DeadMan:
    words = tuple(way for way in hands if way in (CENTRE, ALWAYS))
    if isinstance(value, str):
        if not words:
            shown = "{button: 5}" if BUTTON in hands and joy else "{topic: hand_clutch}"
            raise place.refuse(value, f"what has to be held, as {shown}")
        return DeadMan(f.choice(value, place, words))
    known = tuple(way for way in hands if way in (BUTTON, TOPIC))
    if not known:
        raise place.refuse(value, f"one of {', '.join(words)}")
    if BUTTON in hands and isinstance(value, dict) and BUTTON in value:
        keys = (BUTTON,) if joy else (BUTTON, TOPIC)
        given = f.mapping(value, place, keys)
        button = _index(given[BUTTON], place.at(BUTTON))
        return DeadMan(BUTTON, button, "" if joy else f.topic(given[TOPIC], place.at(TOPIC)))
    given = f.mapping(value, place, known if known == (BUTTON,) else (TOPIC,))
    return DeadMan(TOPIC, 0, f.topic(given[TOPIC], place.at(TOPIC)))


def _index(value: Any, place: Place) -> int:
    number = f.number(value, place, 0, MAX_INDEX)
    if number != int(number):
        raise place.refuse(value, f"a whole number from 0 to {MAX_INDEX}")
    return int(number)


def _events(
    value: Any, place: Place, dead_man: DeadMan, *, has_buttons: bool
) -> MappingProxyType[str, int]:
    if value is None:
        return MappingProxyType({})
    if not has_buttons:
        raise place.refuse(value, "no events: neither the device nor its dead_man has buttons")
    given = f.mapping(value, place, (), EVENTS)
    events = {event: _index(button, place.at(event)) for event, button in given.items()}
    taken = {dead_man.button: "dead_man"} if dead_man.how == BUTTON else {}
    for event, button in events.items():
        if button in taken:
            expected = f"a button other than that of {taken[button]}"
            raise place.at(event).refuse(button, expected)
        taken[button] = event
    return MappingProxyType(events)


def _axis(value: Any, place: Place) -> Axis:
    if isinstance(value, dict) and BUTTON in value:
        f.mapping(value, place, (BUTTON,))
        return Axis(_index(value[BUTTON], place.at(BUTTON)), button=True)
    given = f.mapping(value, place, ("axis",), ("rest", "full"))
    rest = f.number(given.get("rest", 0.0), place.at("rest"), -1e4, 1e4)
    full = f.number(given.get("full", 1.0), place.at("full"), -1e4, 1e4)
    if not abs(full - rest) > 1e-6:
        raise place.at("full").refuse(full, f"another value than rest, {rest:g}")
    return Axis(_index(given["axis"], place.at("axis")), rest, full)


def _axes(top: dict[str, Any], place: Place) -> dict[str, Any]:
    at = place.at("axes")
    given = f.named(top["axes"], at, "what is moved")
    for key in given:
        if "." not in key:
            f.choice(key, at.at(key), TOOL_RATES)
    joints = top.get("joint_axes", [])
    if not isinstance(joints, list):
        raise place.at("joint_axes").refuse(joints, "a list of axes, one a joint")
    hand = top.get("gripper")
    gripper: dict[str, Any] = {}
    if hand is not None:
        gripper = f.mapping(hand, place.at("gripper"), ("opens", "closes"))
        gripper = {k: _axis(v, place.at("gripper").at(k)) for k, v in gripper.items()}
    frame = f.choice(top.get("frame", "base"), place.at("frame"), ("base", "tool"))
    return {
        "axes": MappingProxyType({k: _axis(v, at.at(k)) for k, v in given.items()}),
        "joints": tuple(_axis(v, place.at("joint_axes").at(i)) for i, v in enumerate(joints)),
        "dead_zone": f.number(top.get("dead_zone", 0.05), place.at("dead_zone"), 0.0, 0.9),
        "in_tool": frame == "tool",
        **gripper,
    }


def _hand(top: dict[str, Any], place: Place) -> dict[str, Any]:
    turn = f.numbers(top["turn_rad"], place.at("turn_rad"), 3, -np.pi, np.pi, "rad")
    return {
        "scale": f.number(top["scale"], place.at("scale"), 0.01, 10.0),
        "turn": readonly(rotvec_to_quaternion(turn)),
        "max_step_m": f.number(top["max_step_m"], place.at("max_step_m"), 0.001, 1.0, "m"),
    }


def _leader(top: dict[str, Any], place: Place) -> dict[str, Any]:
    at = place.at("joints")
    given = f.named(top["joints"], at, "columns of the robot's action")
    gripper = top.get("gripper")
    return {
        "ease_s": f.number(top["ease_s"], place.at("ease_s"), 0.1, 10.0, "s"),
        "leader": MappingProxyType({k: _leader_joint(v, at.at(k)) for k, v in given.items()}),
        "leader_gripper": None
        if gripper is None
        else _leader_gripper(gripper, place.at("gripper")),
    }


def _leader_joint(value: Any, place: Place) -> LeaderJoint:
    given = f.mapping(value, place, ("leader", "sign", "offset", "range"))
    sign = f.number(given["sign"], place.at("sign"), -1, 1)
    if abs(sign) != 1.0:
        raise place.at("sign").refuse(given["sign"], "1 or -1")
    low, high = f.numbers(given["range"], place.at("range"), 2, -400.0, 400.0)
    if not low < high:
        raise place.at("range").refuse(given["range"], "two numbers, the second the larger")
    name = f.text(given["leader"], place.at("leader"), "the name of a joint of the leader", f.NAME)
    offset = f.number(given["offset"], place.at("offset"), -400.0, 400.0)
    return LeaderJoint(name, sign, offset, float(low), float(high))


def _leader_gripper(value: Any, place: Place) -> LeaderGripper:
    given = f.mapping(value, place, ("leader", "closed", "open"))
    name = f.text(given["leader"], place.at("leader"), "the name of a joint of the leader", f.NAME)
    closed, opened = (f.number(given[k], place.at(k), -400.0, 400.0) for k in ("closed", "open"))
    if closed == opened:
        raise place.at("open").refuse(opened, f"another value than closed, {closed:g}")
    return LeaderGripper(name, closed, opened)
