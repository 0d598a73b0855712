"""The columns of a set by name: a robot's state, action and cameras, or why they are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import executed_groups, layout_of
from vla_policy.train.set_numbers import SetSource
from vla_policy.train.set_options import ColumnMapping, SetOptions
from vla_policy.types import Array

DELTAS = ("joint_delta", "ee_delta")


@dataclass(frozen=True, slots=True)
class SetColumns:
    """Columns of a set in the order of names: values = set[:, index] * scale + offset."""

    names: tuple[str, ...]
    index: Array
    scale: Array
    offset: Array

    def of(self, rows: Array) -> Array:
        """float64[n, len(names)] of rows float32[n, d] of the set."""
        values: Array = rows[:, self.index] * self.scale + self.offset
        return values


@dataclass(frozen=True, slots=True)
class Matched:
    """written: the actions of the set are as the robot's policies write them, not as executed."""

    cameras: Mapping[str, str]
    state: SetColumns
    action: SetColumns
    written: bool


def match(
    source: SetSource, robot: Embodiment, contract: Contract, options: SetOptions
) -> Matched:
    """Where the contract's state and cameras and the robot's actions are in the set.

    Raises ValueError in one sentence that names set, column, got and expected.
    """
    _require_robot(source, robot, contract)
    written = _written(source, robot, options)
    wanted = robot.action_names if written else layout_of(robot).names
    return Matched(
        cameras=_cameras(source, contract.camera_names, options.cameras),
        state=_columns(source, "state", contract.state_names, options.state),
        action=_columns(source, "action", wanted, options.action),
        written=written,
    )


def _require_robot(source: SetSource, robot: Embodiment, contract: Contract) -> None:
    if contract.action_names != robot.action_names:
        raise ValueError(
            f"{source.label}: the policy's actions are {', '.join(contract.action_names)}, "
            f"those of robot {robot.name!r} {', '.join(robot.action_names)}"
        )
    spaces = tuple((g.name, g.space) for g in robot.actions)
    if contract.spaces != spaces:
        raise ValueError(
            f"{source.label}: the policy's spaces are {_pairs(contract.spaces)}, those of robot {robot.name!r} {_pairs(spaces)}"
        )


def _pairs(spaces: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {space}" for name, space in spaces)


def _written(source: SetSource, robot: Embodiment, options: SetOptions) -> bool:
    """Whether actions are as policies write them.

    Never in this package's sets; others must state it.
    """
    own = {g.name: g.space for g in robot.actions}
    executed = {g.name: g.space for g in executed_groups(robot)}
    if source.own:
        if options.spaces:
            raise ValueError(
                f"{source.label}: spaces: got {_pairs(tuple(options.spaces.items()))}, expected none: the set was "
                "recorded by this package and has what the robot executes"
            )
        return False
    stated = dict(options.spaces)
    if stated == executed:
        return False
    if stated == own:
        return any(space in DELTAS for space in own.values())
    ways = " or ".join(
        f"{{{', '.join(f'{k}: {v}' for k, v in way.items())}}}" for way in (executed, own)
    )
    raise ValueError(
        f"{source.label}: spaces: got {_pairs(tuple(stated.items())) or 'none'}, expected {ways}: the set was not recorded "
        "by this package, so what its actions are must be stated"
    )


def _cameras(source: SetSource, wanted: Sequence[str], said: Mapping[str, str]) -> dict[str, str]:
    found = {name: said.get(name, name) for name in wanted}
    for name, theirs in found.items():
        if theirs not in source.cameras:
            raise ValueError(
                f"{source.label}: camera {name!r}: got no images of {theirs!r}, the set has "
                f"{', '.join(source.cameras) or 'none'}{_hint(theirs, source.cameras)}"
            )
    if unknown := set(said) - set(wanted):
        raise ValueError(
            f"{source.label}: cameras: got {', '.join(sorted(unknown))}, expected some of {', '.join(wanted)}"
        )
    return found


def _columns(
    source: SetSource, what: str, wanted: Sequence[str], said: Mapping[str, ColumnMapping]
) -> SetColumns:
    there = source.state_names if what == "state" else source.action_names
    if unknown := [name for name in said if name not in wanted]:
        raise ValueError(
            f"{source.label}: {what}: got {unknown[0]!r}, expected columns of the robot: {', '.join(wanted)}"
        )
    columns = [said.get(name, ColumnMapping(name)) for name in wanted]
    for name, column in zip(wanted, columns, strict=True):
        if column.name not in there:
            raise ValueError(
                f"{source.label}: {what} {name!r}: got no column {column.name!r}, the set has "
                f"{', '.join(there) or 'none'}{_hint(column.name, there)}; say which one it is in the run file, "
                f"`{what}: {{{name}: ...}}`, with scale and offset if its unit differs"
            )
    return SetColumns(
        tuple(wanted),
        np.array([there.index(c.name) for c in columns], np.int64),
        np.array([c.scale for c in columns]),
        np.array([c.offset for c in columns]),
    )


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 1, 0.6)
    return f" (is it {near[0]!r}?)" if near else ""
