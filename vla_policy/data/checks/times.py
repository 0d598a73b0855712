"""Times of rows: backwards, too far apart, another rate than the set states."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vla_policy.data.checks.episode_data import EpisodeRows
from vla_policy.data.checks.finding import DataFinding, fault
from vla_policy.embodiment.findings import count
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

RATE = 0.02  # by which a median step may differ from 1 / fps
GAP = 1.5  # steps that count as a missing frame
FEWEST = 3  # rows from which the rate can be judged
CUT = "Delete the episode with `vla data edit --delete`, or convert its bag again"


def check_times(rows: EpisodeRows) -> Iterator[DataFinding]:
    """The column timestamp, and the stamps stored by the recorder."""
    sources: list[tuple[str, Array]] = []
    timestamps = rows.columns.get("timestamp")
    if timestamps is not None:
        sources.append(("timestamp", np.asarray(timestamps, np.float64).reshape(-1)))
    if rows.stamps_ns is not None:
        stamps = np.asarray(rows.stamps_ns, np.int64)
        sources.append(("the recorder's stamp", (stamps - stamps[:1]) / NS_PER_S))
    for what, seconds in sources:
        found = list(_check(what, seconds, rows.fps))
        yield from found
        if found:
            return  # the other has the same cause


def _check(what: str, seconds: Array, fps: float) -> Iterator[DataFinding]:
    if len(seconds) < 2 or not np.isfinite(seconds).all():
        return
    steps = np.diff(seconds)
    back = np.flatnonzero(steps <= 0)
    if len(back):
        at = int(back[0]) + 1
        yield fault(
            "time_back",
            f"{what} goes from {seconds[at - 1]:.3f} s to {seconds[at]:.3f} s; {count(len(back), 'time')}",
            CUT,
            frame=at,
            frames=len(back),
        )
        return
    usual = float(np.median(steps))
    if len(seconds) >= FEWEST and not abs(usual * fps - 1) <= RATE:
        yield fault(
            "false_fps",
            f"rows are {usual:.4f} s apart ({what}), that is {1 / usual:.2f} a second; the set states {fps:g}",
            "Correct fps in meta/info.json, or convert the source again at its own rate",
            frame=0,
            frames=len(seconds),
        )
        return
    gaps = np.flatnonzero(steps > GAP * usual)
    if len(gaps):
        at = int(gaps[0]) + 1
        lost = int(np.round(steps[gaps] / usual - 1).sum())
        yield fault(
            "missing_frames",
            f"{count(lost, 'frame')} missing: {what} goes from {seconds[at - 1]:.3f} s to {seconds[at]:.3f} s",
            CUT,
            frame=at,
            frames=lost,
        )
        return
    off = np.abs(seconds - seconds[0] - np.arange(len(seconds)) / fps)
    if float(off.max()) > 0.5 / fps:
        at = int(np.flatnonzero(off > 0.5 / fps)[0])
        yield fault(
            "false_fps",
            f"{what} of frame {at} is {seconds[at]:.3f} s, expected {at / fps:.3f} s at {fps:g} frames a second",
            "Convert the source again at its own rate",
            frame=at,
            frames=int((off > 0.5 / fps).sum()),
        )
