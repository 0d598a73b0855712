"""Smoothness of a stream of commands: within chunks, and where one chunk follows another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_policy.types import Array

AROUND = 2  # ticks after a seam that still belong to it
MOVES_MM = 0.05  # per tick; less counts as standing
LEAST = 8  # ticks


@dataclass(frozen=True, slots=True)
class Smoothness:
    """Jerk of the commanded tools, m/s³; None if there was too little motion.

    rms: of all ticks with motion. seam_p95: where a chunk began during motion. own_p95: elsewhere.
    """

    rms: float | None = None
    seam_p95: float | None = None
    own_p95: float | None = None


def smoothness(
    times_ns: Sequence[int], positions: Sequence[Array], taken_ns: Sequence[int]
) -> Smoothness:
    """For commanded positions float64[p], m, one per tick.

    taken_ns: begin of chunks; the first is no seam.
    """
    found = differences(times_ns, positions, taken_ns).get("jerk_m_s3")
    if found is None:
        return Smoothness()
    seam, own = found
    both = np.concatenate(found)
    return Smoothness(
        float(np.sqrt(np.mean(both**2))) if len(both) else None,
        float(np.percentile(seam, 95)) if len(seam) else None,
        float(np.percentile(own, 95)) if len(own) else None,
    )


def differences(
    times_ns: Sequence[int], positions: Sequence[Array], taken_ns: Sequence[int]
) -> dict[str, tuple[Array, Array]]:
    """By quantity its size where a chunk began during motion, and elsewhere in motion.

    position_mm: per tick. velocity_mm_s: change per tick. jerk_m_s3. Ticks count as evenly apart.
    """
    times = np.array(times_ns)
    if len(times) < LEAST:
        return {}
    path = np.array(positions) * 1e3
    tick_s = float(np.median(np.diff(times))) / 1e9
    seam = np.zeros(len(times), dtype=bool)
    for at_ns in taken_ns[1:]:
        first = np.searchsorted(times, at_ns)
        seam[first : first + AROUND] = True
    out = {}
    units = (("position_mm", 1.0), ("velocity_mm_s", 1 / tick_s), ("jerk_m_s3", 1e-3 / tick_s**3))
    moved = np.linalg.norm(np.diff(path, axis=0), axis=1) > MOVES_MM
    for order, (name, scale) in enumerate(units, start=1):
        size = np.linalg.norm(np.diff(path, n=order, axis=0), axis=1) * scale
        here = seam[order:]
        out[name] = (size[here], size[~here & moved[order - 1 :]])
    return out
