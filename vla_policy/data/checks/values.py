"""Numbers of an episode: not finite, outside the robot's limits, leaping, stuck."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_policy.data.checks.bounds import ColumnBounds
from vla_policy.data.checks.episode_data import EpisodeRows
from vla_policy.data.checks.finding import DataFinding, doubt, fault, runs
from vla_policy.data.lerobot.layout import ACTION, PROPOSED, STATE
from vla_policy.embodiment.findings import count
from vla_policy.types import Array

SLACK = {ACTION: 0.02, STATE: 0.05}  # of a column's range, outside its limits
LEAP = 3.0  # times the speed limit, of a measured state
STUCK_S, STUCK_ROWS = 0.5, 6  # of a state that repeats to the last bit
STUCK_ACTION = 0.05  # motion of the action meanwhile, of its range in the episode


def check_finite(rows: EpisodeRows) -> Iterator[DataFinding]:
    """NaN and infinity, except where nothing was planned."""
    for feature in rows.features:
        table = rows.table(feature)
        if table is None or feature == PROPOSED:
            continue
        bad = ~np.isfinite(table)
        if bad.any():
            at, column = map(int, np.argwhere(bad)[0])
            yield fault(
                "not_finite",
                f"{rows.name(feature, column)} is {table[at, column]}; {count(int(bad.any(1).sum()), 'row')} so",
                "Delete the episode with `vla data edit --delete`: training would spread it to every weight",
                frame=at,
                frames=int(bad.any(1).sum()),
            )


def check_limits(rows: EpisodeRows, bounds: ColumnBounds) -> Iterator[DataFinding]:
    """States and actions against the limits of the robot; one finding per feature."""
    for feature, slack in SLACK.items():
        table, names = rows.table(feature), rows.names.get(feature, ())
        if table is None:
            continue
        outside = np.zeros(table.shape, bool)
        for column, name in enumerate(names[: table.shape[1]]):
            if name in bounds.ranges:
                lower, upper = bounds.ranges[name]
                room = slack * (upper - lower)
                finite = np.isfinite(table[:, column])
                within = (lower - room <= table[:, column]) & (table[:, column] <= upper + room)
                outside[:, column] = finite & ~within
        if outside.any():
            yield _outside(rows, feature, table, outside, bounds)


def _outside(
    rows: EpisodeRows, feature: str, table: Array, outside: Array, bounds: ColumnBounds
) -> DataFinding:
    at, column = map(int, np.argwhere(outside)[0])
    lower, upper = bounds.ranges[rows.names[feature][column]]
    others = int(outside.any(0).sum()) - 1
    more = f" and {count(others, 'column')} more" if others else ""
    frames = int(outside.any(1).sum())
    says = (
        f"{rows.name(feature, column)} is {table[at, column]:.4g}, the limits of {bounds.robot} are {lower:.4g} to "
        f"{upper:.4g}; {count(frames, 'row')} so{more}"
    )
    change = (
        "See that it is this robot's data and in its units (--robot NAME); else delete the episode"
    )
    make = fault if feature == ACTION else doubt
    return make("out_of_limits", says, change, frame=at, frames=frames)


def check_leaps(rows: EpisodeRows, bounds: ColumnBounds) -> Iterator[DataFinding]:
    """Steps of the measured state that the robot cannot have made."""
    table, names = rows.table(STATE), rows.names.get(STATE, ())
    if table is None or len(table) < 2:
        return
    for column, name in enumerate(names[: table.shape[1]]):
        if name not in bounds.speeds:
            continue
        steps = np.abs(np.diff(table[:, column]))
        most = LEAP * bounds.speeds[name] / rows.fps
        wrong = np.flatnonzero(steps > most)
        if len(wrong):
            at = int(wrong[0]) + 1
            yield doubt(
                "leap",
                f"{rows.name(STATE, column)} goes from {table[at - 1, column]:.4g} to {table[at, column]:.4g} in one "
                f"frame; {bounds.robot} moves at most {bounds.speeds[name] / rows.fps:.3g}",
                "Look at it with `vla data view`: frames were lost here, or an encoder failed",
                frame=at,
                frames=len(wrong),
            )
            return


def check_stuck(rows: EpisodeRows) -> Iterator[DataFinding]:
    """A measured state that repeats to the last bit while the action changes."""
    state, action = rows.table(STATE), rows.table(ACTION)
    if state is None or action is None or len(state) < STUCK_ROWS:
        return
    span = np.ptp(action, axis=0)
    same = np.concatenate(([False], (np.diff(state, axis=0) == 0).all(1)))
    for first, last in runs(same):
        length = last - first + 1
        moved = np.ptp(action[first - 1 : last + 1], axis=0)
        going = span > 1e-6
        far = bool((moved[going] > STUCK_ACTION * span[going]).any())
        if (
            length + 1 >= STUCK_ROWS
            and length / rows.fps >= STUCK_S
            and far
            and not _flagged(rows, first, last)
        ):
            yield fault(
                "stuck_state",
                f"observation.state repeats in frames {first - 1} to {last} while the action moves",
                "Delete the episode: the robot's state was not received here",
                frame=first,
                frames=length,
            )


def _flagged(rows: EpisodeRows, first: int, last: int) -> bool:
    valid = rows.columns.get("frame_valid")
    return valid is not None and not np.asarray(valid[first : last + 1], bool).any()


def check_valid(rows: EpisodeRows, few: float = 0.02, many: float = 0.2) -> Iterator[DataFinding]:
    """The share of frames that the recorder marked invalid. few, many: for a doubt, a fault."""
    valid = rows.columns.get("frame_valid")
    if valid is None or not len(valid):
        return
    bad = ~np.asarray(valid, bool).reshape(-1)
    share = float(bad.mean())
    if share > few:
        make = fault if share > many else doubt
        yield make(
            "invalid_frames",
            f"{int(bad.sum())} of {len(bad)} frames are marked invalid: a stream was too old, or nothing was sent yet",
            "Leave these frames out of training, or delete the episode",
            frame=int(np.flatnonzero(bad)[0]),
            frames=int(bad.sum()),
        )
