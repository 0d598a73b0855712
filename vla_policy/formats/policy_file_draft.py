"""Draft of a policy file from a folder and a robot: `vla inspect FOLDER --policy-file --robot R`.

Unambiguous fields are filled in; where a person has to decide, a comment gives the choice and its
criterion. Nothing is guessed silently: `vla check checkpoint` and the policy node check the result
like any policy file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vla_policy.embodiment import Embodiment, embodiment_names, load_embodiment
from vla_policy.embodiment.spaces import JOINT_PREFIX
from vla_policy.formats import tool_columns
from vla_policy.formats.fit import Heads
from vla_policy.formats.format import Facts, Format
from vla_policy.formats.kinds import FORMATS
from vla_policy.models.text import find_tokenizer

# Parts of the names of cameras on a gripper; any other camera shows the scene.
HAND = re.compile(r"wrist|hand|gripper|palm|ego", re.IGNORECASE)
SIDES = re.compile(r"left|right", re.IGNORECASE)
TURN = 6.5  # rad; data with larger values is in degrees
PERCENT = 20.0  # a gripper's data with larger values is neither a fraction nor a joint position
TODO = "DECIDE"


def draft(folder: Path, kind: str, robot: Embodiment, heads: Heads | None) -> str:
    """The text of the policy file.

    Raises ValueError or FileNotFoundError for an unreadable folder, or one that can never drive
    robot.
    """
    form = FORMATS[kind]
    facts = form.facts(folder)
    _require_robot(form, robot)
    lines = [
        f"# {folder.name} on {robot.name}; lines with {TODO} want a person. See docs/checkpoints.md.",
        f"checkpoint: {json.dumps(str(folder.absolute()))}",
    ]
    if find_tokenizer(folder) is None:
        lines.append(f"tokenizer: {form.tokenizer}")
    lines += _cameras(facts.slots, robot.camera_names)
    lines += _columns("state: ", facts.state_width, robot.state_names, (), "")
    lines += ["actions:"]
    lines += _columns("  names: ", facts.action_width, robot.action_names, facts.labels, "  ")
    spaces = ", ".join(f"{group.name}: {group.space}" for group in robot.actions)
    lines.append(f"  spaces: {{{spaces}}}")
    if any(facts.relative):
        names = [n for n, on in zip(robot.action_names, facts.relative, strict=False) if on]
        _require_measured(names, facts, robot)
        lines.append(f"  relative: [{', '.join(names)}]   # as the folder's own step says")
    lines += _rate(facts, robot)
    lines.append(f"embodiments: [{robot.name}]")
    lines += _units(facts, robot)
    lines += _heads(folder, form, heads)
    lines += facts.lines
    if not facts.newer:
        lines += [
            f"# {TODO}: if lerobot 0.4.4 or older trained it (this folder has no relative step, so it may have):",
            "# compatibility: [letterbox_lerobot_0_4_4, state_padded_in_prompt]",
        ]
    lines += _next(robot)
    return "\n".join(lines) + "\n"


def _require_robot(form: Format, robot: Embodiment) -> None:
    says = _problem(form, robot)
    if says is None:
        return
    fit = [n for n in embodiment_names() if _problem(form, load_embodiment(n)) is None]
    raise ValueError(
        f"{robot.name}: {says}; robots here that it can drive: {', '.join(fit)}, or write a robot file whose arm "
        "takes ee_pose (docs/your_own_robot.md)"
    )


def _problem(form: Format, robot: Embodiment) -> str | None:
    spaces = tuple(group.space for group in robot.actions)
    return tool_columns.problem(form.tool, robot.action_names, spaces, robot.state_names)


def _require_measured(names: list[str], facts: Facts, robot: Embodiment) -> None:
    """Raises ValueError unless relative actions are in the state. Other widths: see _columns."""
    missing = [name for name in names if name not in robot.state_names]
    if missing and facts.action_width == len(robot.action_names):
        raise ValueError(
            f"{robot.name}: the folder predicts {', '.join(missing)} minus the state, in which {robot.name} has "
            f"{', '.join(robot.state_names)}: train with these columns in exclude_joints of its relative step"
        )


def _cameras(slots: tuple[str, ...], cameras: tuple[str, ...]) -> list[str]:
    pairs, open_ = match_cameras(slots, cameras)
    lines = ["cameras:   # the checkpoint's name: the robot's"]
    for slot in slots:
        if slot in pairs:
            note = f"   # {TODO}: by position alone" if slot in open_ else ""
            lines.append(f"  {slot}: {pairs[slot]}{note}")
        else:
            lines.append(
                f"  # {slot}: {TODO}: no camera of the robot ({', '.join(cameras)}) is clearly this one; "
                "left out, its tokens are not computed"
            )
    return lines


def match_cameras(
    slots: tuple[str, ...], cameras: tuple[str, ...]
) -> tuple[dict[str, str], frozenset[str]]:
    """Slot -> camera, and the slots that were matched only by exclusion.

    By equal names, else the only remaining gripper camera, or scene camera, on both sides.
    """
    pairs = {slot: slot for slot in slots if slot in cameras}
    left = [c for c in cameras if c not in pairs.values()]
    open_: set[str] = set()
    for on_hand in (True, False):
        theirs = [s for s in slots if s not in pairs and bool(HAND.search(s)) == on_hand]
        ours = [c for c in left if bool(HAND.search(c)) == on_hand]
        for slot in theirs:
            side = SIDES.search(slot)
            same = [c for c in ours if side and side[0].lower() in c.lower()]
            if not (fits := same or ours):
                continue
            if len(fits) > 1 or (len(theirs) > 1 and not same):
                open_.add(slot)
            pairs[slot] = camera = fits[0]
            ours.remove(camera)
            left.remove(camera)
    return pairs, frozenset(open_)


def _columns(
    key: str, width: int | None, names: tuple[str, ...], labels: tuple[str, ...], indent: str
) -> list[str]:
    """A line of names, with a comment if they may not be the checkpoint's columns."""
    shown = ", ".join(labels)
    if width is not None and width != len(names):
        listed = [*names[:width], *(f"{TODO}_{i}" for i in range(len(names), width))]
        return [
            f"{indent}# {TODO}: the checkpoint has {width} columns{f' ({shown})' if shown else ''}, the robot "
            f"{len(names)} ({', '.join(names)}): another robot, or one with other columns in its file",
            f"{key}[{', '.join(listed)}]",
        ]
    if labels:
        order = match_columns(labels, names)
        if order is None:
            note = f"{TODO}: the folder calls them {shown}, in this order"
            return [f"{indent}# {note}", f"{key}[{', '.join(names)}]"]
        if order != names:
            note = f"by name; {TODO}: the robot has another order, change it there"
            return [f"{indent}# {note}", f"{key}[{', '.join(order)}]"]
        return [f"{key}[{', '.join(order)}]   # the folder: {shown}"]
    return [
        f"{indent}# by position: see that the data had this order",
        f"{key}[{', '.join(names)}]",
    ]


def match_columns(labels: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...] | None:
    """The robot's names in the folder's order, by name or by the gripper's position; else None.

    >>> match_columns(("joint_0.pos", "gripper.pos"), ("joint.elbow", "gripper"))
    ('joint.elbow', 'gripper')
    """
    plain = [_plain(label) for label in labels]
    ours = {_plain(name): name for name in names}
    if sorted(plain) == sorted(ours):
        return tuple(ours[p] for p in plain)
    numbered = all(re.fullmatch(r"(joint|motor|j)?_?\d+|.*gripper.*", p) for p in plain)
    grips = [["gripper" in n for n in part] for part in (plain, names)]
    return names if numbered and grips[0] == grips[1] else None


def _plain(name: str) -> str:
    """A column's name without its prefix or suffix: `joint.` here, `.pos` in lerobot."""
    name = name.lower().removeprefix(JOINT_PREFIX)
    return re.sub(r"\.(pos|position)$", "", name)


def _rate(facts: Facts, robot: Embodiment) -> list[str]:
    data = f" of {facts.trained_on}" if facts.trained_on else ""
    return [
        f"# {TODO}: rows a second, the fps in meta/info.json of the data set{data}. Where it is not {robot.policy_hz:g},",
        "# write it here and as rates.policy_hz into a copy of the robot's file, and start with that copy.",
        f"policy_hz: {robot.policy_hz:g}",
    ]


def _units(facts: Facts, robot: Embodiment) -> list[str]:
    """Degrees and percent, where the training data's range allows nothing else."""
    if facts.state is None or facts.state_width != len(robot.state_names):
        return []
    ends = _ends(facts.state.statistics)
    if ends is None:
        return []
    units, seen = {}, []
    for name, most in zip(robot.state_names, ends, strict=False):
        unit = None
        if name.startswith(JOINT_PREFIX) and robot.joints.unit == "rad" and most > TURN:
            unit = "deg"
        elif name.rpartition(".")[2] == "gripper" and most > PERCENT:
            unit = "percent"
        if unit is not None:
            units[name] = unit
            seen.append(f"{name} reaches {most:.4g}")
    if not units:
        return []
    listed = ", ".join(f"{name}: {unit}" for name, unit in units.items())
    return [
        f"# {TODO}: in training {', '.join(seen)}, which is not rad or 0 .. 1; if the data has these units:",
        f"# units: {{{listed}}}",
    ]


def _ends(statistics: Mapping[str, np.ndarray]) -> np.ndarray | None:
    for low, high in (("q01", "q99"), ("min", "max")):
        if low in statistics and high in statistics:
            ends: np.ndarray = np.maximum(np.abs(statistics[low]), np.abs(statistics[high]))
            return ends.ravel()
    if {"mean", "std"} <= set(statistics):
        ends = np.abs(statistics["mean"]) + 2.0 * statistics["std"]
        return ends.ravel()
    return None


def _heads(folder: Path, form: Format, heads: Heads | None) -> list[str]:
    if heads is not None:
        return [f"heads: {{language: {heads.language}, kv: {heads.kv}, vision: {heads.vision}}}"]
    if form.portable is None:
        return []
    try:
        form.portable(folder, None, None)
    except ValueError as error:
        if "heads" not in str(error):
            return []
        return [
            f"# {TODO}: not the published sizes, so the attention heads have to be said (or --heads L K V):",
            "# heads: {language: 8, kv: 1, vision: 16}",
        ]
    return []


def _next(robot: Embodiment) -> list[str]:
    return [
        "# Next: vla inspect THIS_FILE; vla check checkpoint THIS_FILE --robot "
        f"{robot.name}; vla up {robot.name} --mock --policy THIS_FILE",
    ]
