"""Lengths of episodes, compared with others of the same task."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from vla_policy.data.checks.episode_data import EpisodeReport
from vla_policy.data.checks.finding import DataFinding, doubt
from vla_policy.data.take_verdict import USUAL

CHANGE = "Look at it with `vla data view`; delete it if the demonstration was cut off or forgotten"


def check_lengths(reports: Sequence[EpisodeReport], fps: float) -> Iterator[DataFinding]:
    """Unusually short or long episodes, by the recorder's criterion for takes."""
    for report in reports:
        others = [r.length for r in reports if r is not report and r.task == report.task]
        usual = statistics.median(others) if len(others) >= USUAL.others else None
        word = ""
        if report.length < USUAL.fewest_frames or (
            usual is not None and report.length < USUAL.shortest * usual
        ):
            word = "short"
        elif usual is not None and report.length > USUAL.longest * usual:
            word = "long"
        if word:
            beside = "" if usual is None else f"; others of its task have {usual:g}"
            yield doubt(
                word,
                f"has {report.length} frames, {report.length / fps:.1f} s{beside}",
                CHANGE,
                episode=report.episode,
            )
