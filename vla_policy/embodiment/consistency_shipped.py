"""A robot file with the name of a shipped robot but another meaning of its commands.

Checkpoints identify robots by name. A policy's actions for that name are executed by this file, so
the conventions of the shipped one must hold; topics, limits and rates may differ.
"""

from __future__ import annotations

from collections.abc import Iterator

from vla_policy.embodiment.embodiment_file import EmbodimentFile, read_embodiment_file
from vla_policy.embodiment.findings import Finding, error
from vla_policy.paths import embodiment_names

CONVENTIONS = ("space", "unit", "reference", "rotation", "open", "closed")
OTHER = "or give the robot a name of its own, which no checkpoint knows yet"


def check_conventions(sheet: EmbodimentFile) -> Iterator[Finding]:
    """Differences to the shipped robot of the same name; nothing if there is none."""
    robot = sheet.robot
    if robot.name not in embodiment_names():
        return
    known = read_embodiment_file(robot.name).robot
    theirs = {group.name: group for group in known.actions}
    for group in robot.actions:
        model = theirs.get(group.name)
        for key in CONVENTIONS if model is not None else ():
            ours, shipped = getattr(group, key), getattr(model, key)
            if ours != shipped:
                yield error(
                    sheet.action_at(group.name, key),
                    f"got {ours}, the shipped {robot.name} has {shipped}: its policies would be misread",
                    f"Write {shipped}, {OTHER}",
                )
    for name, output in robot.outputs.items():
        model_output = known.outputs.get(name)
        if output.open is None or output.closed is None or model_output is None:
            continue
        if model_output.open is None or model_output.closed is None:
            continue
        if model_output.joint != output.joint:
            continue
        if (output.open > output.closed) != (model_output.open > model_output.closed):
            yield error(
                sheet.at("outputs", name, "open"),
                f"open is {output.open:g}, closed {output.closed:g}; the shipped {robot.name} has "
                f"{model_output.open:g} and {model_output.closed:g}: it would close to open",
                f"Exchange the two, {OTHER}",
            )
    yield from _cameras(sheet, {n: c.topic for n, c in known.cameras.items()})


def _cameras(sheet: EmbodimentFile, shipped: dict[str, str]) -> Iterator[Finding]:
    """Cameras with swapped topics."""
    owner = {topic: name for name, topic in shipped.items()}
    for name, camera in sheet.robot.cameras.items():
        other = owner.get(camera.topic, name)
        if other != name and other in sheet.robot.cameras:
            yield error(
                sheet.at("cameras", name, "topic"),
                f"{camera.topic} is the topic of camera {other!r} of the shipped {sheet.robot.name}",
                f"Write {shipped.get(name, 'another topic')}, {OTHER}",
            )
