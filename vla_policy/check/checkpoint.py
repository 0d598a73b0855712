"""Whether a checkpoint fits a robot: cameras, columns, spaces, rate, training data ranges."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vla_policy.check.checkpoint_summary import CheckpointSummary, describe, trained_for
from vla_policy.check.ranges import check_actions, check_state
from vla_policy.check.robot_model import nearest
from vla_policy.checkpoint.contract import check as check_contract
from vla_policy.embodiment.embodiment_file import EmbodimentFile, read_embodiment_file
from vla_policy.embodiment.findings import ERROR, Finding, error, errors
from vla_policy.parsing.fields import Place, Refused
from vla_policy.paths import find_policy, split_adapter

FIRST = "The rest is looked at when this is right"


def check_checkpoint(name_or_path: str, robot: str | None = None) -> tuple[Finding, ...]:
    """The differences, most severe first; robot: name or path, None for those it was trained for.

    Errors are those for which the policy node refuses to activate, and impossible ranges.
    Raises FileNotFoundError or ValueError if the checkpoint or robot does not exist.
    """
    path = find_policy(split_adapter(name_or_path)[0])
    robots = trained_for(path) if robot is None else (robot,)
    sheets = [None if name is None else read_embodiment_file(name) for name in robots]
    found = [finding for sheet in sheets for finding in check_fit(path, sheet)]
    return tuple(sorted(found, key=lambda f: f.level != ERROR))


def check_fit(path: Path, sheet: EmbodimentFile | None) -> tuple[Finding, ...]:
    """The same for a folder or policy file and a parsed robot; None: the robot it was trained for.

    The policy node refuses to activate on an error among them.
    """
    return tuple(sorted(_check(path, sheet), key=lambda f: f.level != ERROR))


def _check(path: Path, sheet: EmbodimentFile | None) -> Iterator[Finding]:
    try:
        described = describe(path, None if sheet is None else sheet.robot.name)
    except Refused as refused:
        yield Finding(ERROR, refused.where, "", refused.says, FIRST)
        return
    except (ValueError, FileNotFoundError) as unfit:
        if path.is_dir():
            raise
        # For a policy file: the folder that it names, or both together.
        yield Finding(ERROR, "", "", str(unfit), FIRST)
        return
    sheet = sheet or read_embodiment_file(described.contract.embodiments[0])
    yield from fit(described, sheet)
    yield from check_state(described, sheet)
    yield from check_actions(described, sheet)


def fit(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    """Differences of contract and robot; none if the policy node would accept the robot."""
    problems = check_contract(described.contract, sheet.robot)
    if not problems:
        return
    found = [
        *_cameras(described, sheet),
        *_columns(described, sheet, "state"),
        *_columns(described, sheet, "actions"),
        *_spaces(described, sheet),
        *_rate(described, sheet),
        *_name(described, sheet),
    ]
    yield from found
    if not errors(found):
        for problem in problems:
            yield error(described.place, problem, "Change the one or the other")


def _at(described: CheckpointSummary, own: tuple[str, ...], foreign: tuple[str, ...]) -> Place:
    place = described.place
    for key in own if described.own else foreign:
        place = place.at(key)
    return place


def _change(described: CheckpointSummary, theirs: Place, ours: Place, what: str) -> str:
    """A sentence about where to change what."""
    if described.own:
        return f"Give the robot {what} at {ours.where} ({ours.path}), or take another checkpoint"
    return f"Change {theirs.path} here, or {ours.path} at {ours.where}"


def _cameras(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    wanted, there = described.contract.camera_names, sheet.robot.camera_names
    ours = sheet.at("cameras")
    for name in wanted:
        if name not in there:
            place = _at(described, ("camera_names",), ("cameras", described.slots.get(name, name)))
            says = f"camera {name!r}: {sheet.robot.name} has none of that name"
            change = _change(described, place, ours, "a camera of that name")
            yield error(place, says, f"{nearest(name, there)}. {change}")


def _columns(described: CheckpointSummary, sheet: EmbodimentFile, what: str) -> Iterator[Finding]:
    contract, robot = described.contract, sheet.robot
    if what == "state":
        wanted, there = contract.state_names, robot.state_names
        place, ours = _at(described, ("state_names",), ("state",)), sheet.at("state")
    else:
        wanted, there = contract.action_names, robot.action_names
        place = _at(described, ("action_names",), ("actions", "names"))
        ours = sheet.at("actions", 0, "names")
    if wanted == there:
        return
    missing = [n for n in wanted if n not in there]
    extra = [n for n in there if n not in wanted]
    if len(wanted) != len(there):
        count = f"{len(wanted)} columns, {robot.name} has {len(there)}"
    else:
        count = f"{len(wanted)} columns as {robot.name} has"
    parts = [f"{what}: the checkpoint has {count}"]
    parts += [f"{robot.name} lacks {', '.join(missing)}"] if missing else []
    parts += [f"the checkpoint lacks {', '.join(extra)}"] if extra else []
    if not missing and not extra:
        i = next(i for i, (a, b) in enumerate(zip(wanted, there, strict=True)) if a != b)
        parts.append(f"in another order: column {i} is {wanted[i]} there and {there[i]} here")
    yield error(
        place,
        "; ".join(parts),
        _change(described, place, ours, "the same columns in the same order"),
    )


def _spaces(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    theirs = dict(described.contract.spaces)
    groups = {g.name: g.space for g in sheet.robot.actions}
    place = _at(described, ("spaces",), ("actions", "spaces"))
    for name, space in groups.items():
        if theirs.get(name, space) != space:
            ours = sheet.action_at(name, "space")
            at = place if described.own else place.at(name)
            says = f"group {name!r}: the checkpoint commands {theirs[name]}, {sheet.robot.name} takes {space}"
            yield error(at, says, _change(described, at, ours, "that space"))
    if tuple(theirs) != tuple(groups):
        ours = sheet.at("actions")
        says = f"action groups: the checkpoint has {', '.join(theirs)}, {sheet.robot.name} {', '.join(groups)}"
        yield error(place, says, _change(described, place, ours, "these groups"))


def _rate(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    wanted, there = described.contract.policy_hz, sheet.robot.policy_hz
    if wanted != there:
        place, ours = described.place.at("policy_hz"), sheet.at("rates", "policy_hz")
        says = f"rows come at {wanted:g} Hz in the checkpoint, {sheet.robot.name} plays them at {there:g} Hz"
        yield error(place, says, _change(described, place, ours, f"{wanted:g} Hz"))


def _name(described: CheckpointSummary, sheet: EmbodimentFile) -> Iterator[Finding]:
    known, name = described.contract.embodiments, sheet.robot.name
    if name not in known:
        place, ours = described.place.at("embodiments"), sheet.at("name")
        says = f"the checkpoint was trained for {', '.join(known)}, not for {name!r}"
        yield error(place, says, _change(described, place, ours, "that name, if it is that robot"))
