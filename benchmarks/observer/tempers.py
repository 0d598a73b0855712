"""How often things happen in one scenario, drawn from its seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import adapter
from .motions import MONOTONE, WANDER

MS = 1_000_000


@dataclass
class Temper:
    """How often things happen in one scenario, per tick where it is a probability."""

    style: str
    scheme: str
    change: str
    stall: float
    jump: float
    operator: float
    hand: float
    lifecycle: float
    silent: float  # an input
    hostile: float  # of chunks
    instruction: float
    other: float
    jitter_ns: int
    latency_ns: int
    lag_ns: int
    noise: float
    policy_ns: tuple[int, int]  # from an observation to its chunk
    gap_ns: tuple[int, int]  # between observations


def temper(rng: np.random.Generator) -> Temper:
    def some(share: float, low: float, high: float) -> float:
        return float(rng.uniform(low, high)) if rng.random() < share else 0.0

    slow = rng.random() < 0.2
    return Temper(
        style=MONOTONE if rng.random() < 0.5 else WANDER,
        scheme=str(rng.choice(adapter.ALL_SCHEMES)),
        change="flush" if rng.random() < 0.7 else "blend",
        stall=some(0.7, 0.002, 0.03),
        jump=some(0.25, 0.001, 0.006),
        operator=some(0.7, 0.002, 0.02),
        hand=some(0.5, 0.002, 0.02),
        lifecycle=some(0.5, 0.001, 0.01),
        silent=some(0.4, 0.002, 0.015),
        hostile=some(0.4, 0.05, 0.4),
        instruction=some(0.4, 0.002, 0.01),
        other=some(0.2, 0.001, 0.006),
        jitter_ns=int(rng.choice([0, 200_000, 2 * MS, 6 * MS])),
        latency_ns=int(rng.integers(100_000, 3 * MS)),
        lag_ns=int(rng.integers(1 * MS, 60 * MS)),
        noise=float(rng.choice([0.0, 1e-5, 5e-5])),
        policy_ns=(300 * MS, 1400 * MS) if slow else (30 * MS, 350 * MS),
        gap_ns=(100 * MS, 500 * MS) if rng.random() < 0.8 else (400 * MS, 2500 * MS),
    )
