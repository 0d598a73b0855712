"""A robot file against the URDF or MJCF of the robot: names of joints and frames, ranges, speeds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from vla_policy.embodiment.embodiment_file import EmbodimentFile
from vla_policy.embodiment.findings import Finding, error, warning
from vla_policy.parsing.files import one_line
from vla_policy.parsing.model_file import read_model_xml

CLOSE = 0.005  # rad or m; manufacturers round
PERCENT = 1.05  # of a speed


@dataclass(frozen=True, slots=True)
class ModelJoint:
    """lower, upper in rad or m; None without a range. speed per s; None without one."""

    turns: bool
    lower: float | None
    upper: float | None
    speed: float | None


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """Content of a model file: movable joints and bodies by name."""

    joints: dict[str, ModelJoint]
    bodies: tuple[str, ...]


def check_model(sheet: EmbodimentFile, file: Path | None = None) -> Iterator[Finding]:
    """Against file, else the file of the key model; no findings without either."""
    place = sheet.at("model", "file")
    if file is None:
        if sheet.robot.model is None:
            return
        file = sheet.robot.model.file
    try:
        model = read_model(file)
    except (ValueError, OSError) as problem:
        yield error(place, str(problem), "Name a URDF or MJCF that can be read")
        return
    yield from _names(sheet, model, file)
    yield from _ranges(sheet, model)
    yield from _speeds(sheet, model)
    yield from _grippers(sheet, model, file)


def read_model(file: Path) -> ModelDescription:
    """A URDF, parsed directly, or an MJCF, compiled by MuJoCo. Raises ValueError or OSError."""
    root = read_model_xml(file)
    if root.tag == "robot":
        return _urdf(root, file)
    if root.tag == "mujoco":
        return _mjcf(file)
    raise ValueError(f"{file}: got <{root.tag}>, expected a URDF's <robot> or an MJCF's <mujoco>")


def _urdf(root: ElementTree.Element, file: Path) -> ModelDescription:
    joints = {}

    def number(text: str, key: str, joint: ElementTree.Element) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            name, got = joint.get("name", ""), one_line(repr(text), 40)
            raise ValueError(f"{file}: joint {name!r}: {key}: got {got}, expected a number")
        return value

    for joint in root.findall("joint"):
        kind, limit = joint.get("type"), joint.find("limit")
        if kind not in ("revolute", "continuous", "prismatic"):
            continue
        given = {} if limit is None else limit.attrib
        low = high = None
        if kind != "continuous":
            low = number(given.get("lower", "0"), "lower", joint)
            high = number(given.get("upper", "0"), "upper", joint)
        speed = number(given["velocity"], "velocity", joint) if "velocity" in given else None
        joints[joint.get("name", "")] = ModelJoint(kind != "prismatic", low, high, speed or None)
    return ModelDescription(joints, tuple(link.get("name", "") for link in root.findall("link")))


def _mjcf(file: Path) -> ModelDescription:
    try:
        import mujoco
    except ModuleNotFoundError as missing:
        raise ValueError(
            f"{file}: an MJCF needs MuJoCo to be read: pip install mujoco"
        ) from missing
    try:
        model = mujoco.MjModel.from_xml_path(str(file))
    except ValueError as problem:
        raise ValueError(f"{file}: MuJoCo cannot read it: {one_line(problem)}") from problem
    hinge, slide = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)
    joints = {}
    for i, kind in enumerate(model.jnt_type):
        if int(kind) in (hinge, slide):
            low, high = map(float, model.jnt_range[i]) if model.jnt_limited[i] else (None, None)
            joints[model.joint(i).name] = ModelJoint(int(kind) == hinge, low, high, None)
    names = [model.body(i).name for i in range(model.nbody)]
    names += [model.site(i).name for i in range(model.nsite)]
    return ModelDescription(joints, tuple(n for n in names if n))


def _names(sheet: EmbodimentFile, model: ModelDescription, file: Path) -> Iterator[Finding]:
    robot = sheet.robot
    for i, name in enumerate(robot.joint_names):
        if name not in model.joints:
            place = sheet.at("joints", "names", i)
            yield error(place, f"{file.name} has no joint {name!r}", nearest(name, model.joints))
    for key in ("base_frame", "tool_frame"):
        frame = getattr(robot, key)
        if frame not in model.bodies:
            says = f"{file.name} has no link or body {frame!r}"
            yield error(sheet.at(key), says, nearest(frame, model.bodies))


def _ranges(sheet: EmbodimentFile, model: ModelDescription) -> Iterator[Finding]:
    joints = sheet.robot.joints
    for i, name in enumerate(joints.names):
        found = model.joints.get(name)
        if found is None:
            continue
        if found.turns != (joints.unit == "rad"):
            kind = "turns" if found.turns else "slides"
            yield error(
                sheet.at("joints", "unit"),
                f"joint {name!r} {kind}, its unit is {joints.unit}",
                f"Write unit: {'rad' if found.turns else 'm'}",
            )
            continue
        if found.lower is None or found.upper is None:
            continue
        for end, value, bound, beyond in (
            ("lower", joints.lower[i], found.lower, joints.lower[i] < found.lower - CLOSE),
            ("upper", joints.upper[i], found.upper, joints.upper[i] > found.upper + CLOSE),
        ):
            if beyond:
                degrees = abs(math.radians(value) - bound) < 0.02
                yield error(
                    sheet.at("joints", end, i),
                    f"joint {name!r}: {value:g} is outside the model's {bound:g} {joints.unit}"
                    + (": degrees?" if degrees else ""),
                    f"Write {bound:g}, or less of a range",
                )


def _speeds(sheet: EmbodimentFile, model: ModelDescription) -> Iterator[Finding]:
    robot = sheet.robot
    for group in robot.actions:
        speeds = robot.limits.groups[group.name].joint_speed_per_s
        for i, name in enumerate(group.names if speeds is not None else ()):
            found = model.joints.get(name.removeprefix("joint."))
            if speeds is not None and found and found.speed and speeds[i] > PERCENT * found.speed:
                yield warning(
                    sheet.at("limits", group.name, "joint_speed_per_s", i),
                    f"{name!r}: {speeds[i]:g} per s is more than the model's {found.speed:g}",
                    f"Write at most {found.speed:g}",
                )


def _grippers(sheet: EmbodimentFile, model: ModelDescription, file: Path) -> Iterator[Finding]:
    for group, output in sheet.robot.outputs.items():
        if output.joint is None:
            continue
        found = model.joints.get(output.joint)
        if found is None:
            yield warning(
                sheet.at("outputs", group, "joint"),
                f"{file.name} has no joint {output.joint!r}",
                nearest(output.joint, model.joints),
            )
        elif found.lower is not None and found.upper is not None:
            for key in ("closed", "open"):
                value = getattr(output, key)
                if not found.lower - CLOSE <= value <= found.upper + CLOSE:
                    yield warning(
                        sheet.at("outputs", group, key),
                        f"{value:g} is outside the model's {found.lower:g} to {found.upper:g} "
                        f"of {output.joint!r}",
                        "Some controllers take other units than the joint has; see its documentation",
                    )


def nearest(name: str, known: Iterable[object]) -> str:
    """A replacement for name: the nearest known name, and the list of all."""
    names = [str(n) for n in known]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    there = f"There are {', '.join(names) or 'none'}"
    return f"Did you mean {near[0]!r}? {there}" if near else there
