"""Whether chunks arrive fast enough."""

from __future__ import annotations

from vla_policy.runtime.inference import InferenceStatus

FEW, SHARE = 10, 0.5  # least number of chunks; share of the time that a chunk lasts


def slow(status: InferenceStatus, chunk_s: float) -> str | None:
    """Why chunks arrive too slowly, one sentence; None if they do not, or are too few to judge.

    chunk_s: duration of a chunk's rows.
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
