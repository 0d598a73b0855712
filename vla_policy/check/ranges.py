"""Ranges of training data against the robot's: degrees, percent, millimetres, another robot."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vla_policy.check.checkpoint_summary import CheckpointSummary
from vla_policy.checkpoint.training_range import TrainingRanges
from vla_policy.embodiment import ActionGroup
from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import Finding, error, warning
from vla_policy.embodiment.spaces import AXES, JOINT_PREFIX, QUATERNION_PARTS
from vla_policy.parsing.fields import Place

SLACK = 0.1  # of a joint's range: data may lie slightly outside limits that were tightened later
STEPS = 4.0  # largest step, in multiples of the speed limit
ANOTHER = "These are statistics of another robot, or in another unit; take those of this robot"


def check_state(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    """Ranges of the state's columns."""
    if described.state is not None:
        place = _place(described, described.state, "state")
        for i, name in enumerate(described.state.names):
            yield from _column(sheet, place, described.state, i, name, None)


def check_actions(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    """Ranges of the actions' columns. Columns unknown to the robot are checked by the contract."""
    found = described.actions
    if found is None:
        return
    groups = {name: g for g in sheet.robot.actions for name in g.names}
    place = _place(described, found, "actions")
    for i, name in enumerate(found.names):
        group = groups.get(name)
        if group is None:
            continue
        if name in found.relative or group.reference != "absolute":
            yield from _step(sheet, place, found, i, name, group)
        else:
            yield from _column(sheet, place, found, i, name, group)


def _place(described: CheckpointSummary, found: TrainingRanges, key: str) -> Place:
    return Place(found.where) if described.own else described.place.at(key)


def _column(
    sheet: EmbodimentFile,
    place: Place,
    found: TrainingRanges,
    i: int,
    name: str,
    group: ActionGroup | None,
) -> Iterator[Finding]:
    low, high = float(found.low[i]), float(found.high[i])
    span = f"{name}: {low:.4g} to {high:.4g} in training ({found.where})"
    part = name.rpartition(".")[2]
    if name.startswith(JOINT_PREFIX):
        yield from _joint(sheet, place, span, (low, high), name, group)
    elif part == "gripper":
        yield from _gripper(place, span, low, high)
    elif part in QUATERNION_PARTS and not (-1.01 <= low and high <= 1.01):
        yield error(place, f"{span}, a part of a quaternion is between -1 and 1", ANOTHER)
    elif part in AXES and name.rpartition(".")[0].endswith("ee"):
        yield from _position(sheet, place, span, (low, high), name)


def _joint(
    sheet: EmbodimentFile,
    place: Place,
    span: str,
    ends: tuple[float, float],
    name: str,
    group: ActionGroup | None,
) -> Iterator[Finding]:
    joints = sheet.robot.joints
    joint = name.removeprefix(JOINT_PREFIX)
    if joint not in joints.names:
        return
    index = joints.names.index(joint)
    lower, upper = float(joints.lower[index]), float(joints.upper[index])
    unit, degrees = joints.unit, group is not None and group.unit == "deg"
    if degrees:
        lower, upper, unit = math.degrees(lower), math.degrees(upper), "deg"
    limits = sheet.at("joints", "upper", index).where
    says = f"{span}, the limits are {lower:.4g} to {upper:.4g} {unit} ({limits})"
    if _within(ends, lower, upper):
        return
    if unit == "rad" and max(map(abs, ends)) > math.tau and _within(
        tuple(map(math.radians, ends)), lower, upper
    ):  # fmt: skip
        change = (
            f"Write unit: deg at {sheet.action_at(group.name, 'unit').where}"
            if group is not None
            else "The state of this robot is in rad: take a checkpoint that was trained so"
        )
        yield error(place, f"{says}: degrees?", change)
    elif ends[0] > upper or ends[1] < lower:
        yield error(place, f"{says}: apart", ANOTHER)
    elif group is None and not _within((sum(ends) / 2,) * 2, lower, upper):
        yield error(place, f"{says}: its middle is outside", ANOTHER)
    else:
        yield warning(
            place,
            f"{says}: partly outside",
            "Commands there will be cut at the limit; see that it is this robot's data",
        )


def _within(ends: tuple[float, ...], lower: float, upper: float) -> bool:
    slack = SLACK * (upper - lower)
    return lower - slack <= ends[0] and ends[1] <= upper + slack


def _gripper(place: Place, span: str, low: float, high: float) -> Iterator[Finding]:
    change = "A gripper's column is a fraction, 0 to 1: scale the data, or take other statistics"
    if high > 1.5 or low < -0.5 or not -SLACK <= (low + high) / 2 <= 1.0 + SLACK:
        yield error(place, f"{span}, expected a fraction: percent or a joint's position?", change)
    elif high - low < 0.2:
        yield warning(place, f"{span}, it hardly moved: metres?", change)


def _position(
    sheet: EmbodimentFile, place: Place, span: str, ends: tuple[float, float], name: str
) -> Iterator[Finding]:
    tool, _, axis = name.rpartition(".")
    if max(map(abs, ends)) > 10.0:
        yield error(place, f"{span}, expected metres: mm?", ANOTHER)
        return
    for group in sheet.robot.actions:
        box = sheet.robot.limits.groups[group.name].workspace
        if box is None or group.names[0].rpartition(".")[0] != tool:
            continue
        k = "xyz".index(axis)
        lower, upper = float(box.lower[k]), float(box.upper[k])
        where = sheet.at("limits", group.name, "workspace").where
        says = f"{span}, the workspace is {lower:g} to {upper:g} m ({where})"
        if ends[0] > upper or ends[1] < lower:
            yield error(place, f"{says}: apart", ANOTHER)
        elif not _within(ends, lower, upper):
            yield warning(
                place, f"{says}: partly outside", "Commands there will be held at the edge"
            )


def _step(
    sheet: EmbodimentFile,
    place: Place,
    found: TrainingRanges,
    i: int,
    name: str,
    group: ActionGroup,
) -> Iterator[Finding]:
    """A step from row to row against the speed limit.

    Steps relative to the state may be longer.
    """
    limits = sheet.robot.limits.groups[group.name]
    speed: float | None
    if name in found.relative and group.reference == "absolute":
        return
    step = max(abs(float(found.low[i])), abs(float(found.high[i])))
    if limits.joint_speed_per_s is not None:
        speed = float(limits.joint_speed_per_s[group.names.index(name)])
        speed = math.degrees(speed) if group.unit == "deg" else speed
    else:
        linear = name.rpartition(".")[2] in AXES
        speed = limits.linear_speed_m_s if linear else limits.angular_speed_rad_s
    if speed is None or group.reference == "chunk_start":
        return
    bound = speed / sheet.robot.policy_hz
    if step > STEPS * bound:
        yield warning(
            place,
            f"{name}: steps of up to {step:.4g} in training ({found.where}), the speed limit allows {bound:.3g}",
            "Other units or another rate? The limits would slow it down to a crawl",
        )
