"""Joint limits and speeds that are implausible: degrees in place of radians, angles in place of lengths."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import Finding, error, warning

TURN = 2 * math.pi + 0.01  # manufacturers round 360 degrees up: 6.2832
WIDE_M = 2.0  # linear joints of arms and grippers are shorter
NARROW = 0.005  # rad or m
FAST_PER_S = 2 * math.pi


def check_ranges(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Ends of the joints' ranges."""
    joints = sheet.robot.joints
    for i, name in enumerate(joints.names):
        for end, values in (("lower", joints.lower), ("upper", joints.upper)):
            value, place = float(values[i]), sheet.at("joints", end, i)
            if joints.unit == "rad" and abs(value) > 2 * TURN:
                yield error(
                    place,
                    f"joint {name!r} may go to {value:g} rad, {abs(value) / math.tau:.0f} turns: degrees?",
                    f"Write radians: {math.radians(value):.5f}",
                )
            elif joints.unit == "rad" and abs(value) > TURN:
                yield warning(
                    place,
                    f"joint {name!r} may go to {value:g} rad, more than a turn",
                    f"If that is in degrees, write {math.radians(value):.5f}",
                )
            elif joints.unit == "m" and abs(value) > WIDE_M:
                yield warning(
                    place,
                    f"joint {name!r} may go to {value:g} m",
                    "If it turns, its unit is rad; if that is in mm, write metres",
                )
        if joints.upper[i] - joints.lower[i] < NARROW:
            yield warning(
                sheet.at("joints", "upper", i),
                f"joint {name!r} may move by {joints.upper[i] - joints.lower[i]:g} {joints.unit} only",
                "See the maker's range; a joint that is not to move need not be named",
            )


def check_speeds(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Speeds of the joint groups."""
    robot = sheet.robot
    for group in robot.actions:
        speeds = robot.limits.groups[group.name].joint_speed_per_s
        if speeds is None or robot.joints.unit != "rad":
            continue
        for i, (name, speed) in enumerate(zip(group.names, speeds, strict=True)):
            if speed > FAST_PER_S:
                yield warning(
                    sheet.at("limits", group.name, "joint_speed_per_s", i),
                    f"{name!r} may turn {speed:g} rad/s, more than a turn a second",
                    f"If that is in degrees, write {math.radians(speed):.3f}",
                )
