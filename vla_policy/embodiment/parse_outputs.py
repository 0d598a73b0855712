"""Parses the outputs of an embodiment file: destinations of each action group's commands."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from vla_policy.embodiment.description import ActionGroup, Joints, Output, Rates
from vla_policy.embodiment.spaces import GOALS, JOINT_PREFIX, SERVO_TIMEOUT_NS, SPACES
from vla_policy.parsing import fields as f
from vla_policy.parsing.fields import Place
from vla_policy.timing import NS_PER_S

SERVO_HZ = 2 * NS_PER_S / SERVO_TIMEOUT_NS  # least rate: two commands per timeout of MoveIt Servo
OF_TYPES = ("joint", "closed", "open", "max_effort", "servo", "prefix", "also")


def read_outputs(
    value: Any, place: Place, actions: tuple[ActionGroup, ...], rates: Rates, joints: Joints
) -> MappingProxyType[str, Output]:
    """The key `outputs`, by the name of the action group."""
    groups = {a.name: a for a in actions}
    entries = f.mapping(value, place, tuple(groups))
    outputs = {
        name: _output(entries[name], place.at(name), group) for name, group in groups.items()
    }
    f.require_distinct(place, "topic", {n: o.topic for n, o in outputs.items()})
    for name, output in outputs.items():
        if output.type == "joint_trajectory":
            _require_prefix(output, groups[name], joints, place.at(name))
        if output.servo is not None and not rates.command_hz >= SERVO_HZ:
            raise place.at(name).at("type").refuse(
                output.type, f"rates.command_hz of at least {SERVO_HZ:g} for it, "
                f"not {rates.command_hz:g}",
            )  # fmt: skip
    return MappingProxyType(outputs)


def _require_prefix(output: Output, group: ActionGroup, joints: Joints, place: Place) -> None:
    """A prefix of joint names on a topic must be removed for their controller."""
    own = [name.removeprefix(JOINT_PREFIX) for name in group.names]
    hand = output.gripper_joint
    names = own if hand is None else [hand.name, *output.also]
    known = set(joints.topics.values())
    fits = output.prefix in known and all(name.startswith(output.prefix) for name in names)
    stays = [p for p in known if p and not output.prefix and any(n.startswith(p) for n in names)]
    if not fits or stays:
        expected = ", ".join(repr(prefix) for prefix in sorted(known))
        raise place.at("prefix").refuse(
            repr(output.prefix), f"the prefix of {', '.join(names)} in joints.topic: {expected}"
        )


def _output(value: Any, place: Place, group: ActionGroup) -> Output:
    options = SPACES[group.space].outputs
    if not isinstance(value, dict) or "type" not in value:
        f.mapping(value, place, ("type", "topic"), OF_TYPES)
    kind = value["type"]
    keys, optional = _keys(kind, group)
    fields = f.mapping(value, place, ("type", "topic", *keys), optional)
    return Output(
        f.choice(fields["type"], place.at("type"), options),
        f.topic(fields["topic"], place.at("topic")),
        **_gripper(fields, place) if group.space == "gripper" else {},
        prefix=_prefix(fields, place),
        servo=f.text(fields["servo"], place.at("servo"), "the name of a node", f.TOPIC)
        if "servo" in fields
        else None,
    )


def _keys(kind: Any, group: ActionGroup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Required and optional keys beside type and topic."""
    required: tuple[str, ...] = ("joint", "closed", "open") if group.space == "gripper" else ()
    if kind in GOALS:
        required += ("max_effort",)
    if str(kind).startswith("servo_"):
        required += ("servo",)
    if kind != "joint_trajectory":
        return required, ()
    return required, ("prefix", "also") if group.space == "gripper" else ("prefix",)


def _gripper(fields: dict[str, Any], place: Place) -> dict[str, Any]:
    closed = f.number(fields["closed"], place.at("closed"), -1000, 1000)
    open_ = f.number(fields["open"], place.at("open"), -1000, 1000)
    if closed == open_:
        raise place.at("open").refuse(open_, f"a position that differs from closed, {closed:g}")
    read: dict[str, Any] = {"closed": closed, "open": open_}
    read["joint"] = f.text(fields["joint"], place.at("joint"), "the name of a joint", f.NAME)
    if "max_effort" in fields:
        at = place.at("max_effort")
        read["max_effort"] = f.number(fields["max_effort"], at, 0.01, 1000, "N or N m")
    if "also" in fields:
        read["also"] = f.names(fields["also"], place.at("also"), "joints")
    return read


def _prefix(fields: dict[str, Any], place: Place) -> str:
    if "prefix" not in fields:
        return ""
    return f.text(fields["prefix"], place.at("prefix"), "a prefix of joint names", f.NAME)
