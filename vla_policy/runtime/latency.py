"""Whether chunks come in time to be relied on."""

from __future__ import annotations

from vla_policy.runtime.inference import InferenceStatus

FEW, SHARE = 10, 0.5  # chunks; of the time that a chunk lasts


def slow(status: InferenceStatus, chunk_s: float) -> str | None:
    """Why chunks come too slowly to be relied on, one sentence; None if they do not, or too few have come.

    chunk_s: for which the rows of a chunk last.
    """
    if status.latency_s is None or status.chunks < FEW or chunk_s <= 0.0:
        return None
    p99_s = float(status.latency_s[1])
    if p99_s <= SHARE * chunk_s:
        return None
    return (
        f"an answer takes up to {p99_s:.2f} s (p99) of the {chunk_s:.2f} s that a chunk lasts: the robot will hold "
        "again and again; take a faster machine or network, fewer num_steps, or smaller pictures (?jpeg=90)"
    )
