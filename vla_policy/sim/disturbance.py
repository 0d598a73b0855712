"""Errors with which a simulated robot follows its commands, so that demonstrations show how to come back.

An expert's undisturbed runs never leave their path, and a policy that has learned them does not know what to do beside
it. Errors of the execution, not of the demonstrator's commands, keep the actions that are learned correct (Laskey et
al. 2017, DART: Noise Injection for Robust Imitation Learning).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vla_policy.sim.demonstrations.expert import MAX_STEP_M
from vla_policy.sim.demonstrations.start_poses import LOWEST_TOOL_M
from vla_policy.types import Array

SIGMAS = (0.0, 0.15, 0.3)  # of the largest step; drawn for each scene
DRIVE_SIGMA = np.array([0.10, 0.30])  # m/s, rad/s at a sigma of 1
MOST = 2.5  # sigmas: farther away the guard rightly takes the arm for one that does not follow
ROW_STEPS = 5  # between two draws; on a straight line meanwhile
MOVES_M = 0.002  # by how much a command changes in a row where it moves
LOWEST_M = LOWEST_TOOL_M - 0.002  # an error lowers no tool below this


def share_at(height_m: float) -> float:
    """The share of an error at this height of the tool: small near the table, where it knocks things over."""
    return float(np.clip((height_m - 0.02) / 0.06, 0.25, 1.0))


class Disturbance:
    """The errors in one scene, the same for the same seed and number of steps."""

    def __init__(self, seed: int, arms: int) -> None:
        self._rng = np.random.default_rng((seed, arms, ROW_STEPS))
        self._sigma = float(self._rng.choice(SIGMAS))
        self._from = self._to = self._now = np.zeros((arms, 3))
        self._drive_from = self._drive_to = self._drive_now = np.zeros(2)
        self._places: Array | None = None
        self._steps = 0

    @property
    def disturbs(self) -> bool:
        """Whether this scene has errors; a third of all have none."""
        return self._sigma > 0.0

    def step(self, commanded: Mapping[int, Array]) -> None:
        """Once before each step. commanded: arm -> float64[7], xyz and xyzw.

        Where a command does not move, its errors fade in one row: the guard takes an arm that moves by itself for one that others
        move, and rightly.
        """
        if self._steps % ROW_STEPS == 0:
            places = np.array([commanded[arm][:3] for arm in sorted(commanded)])
            before = places if self._places is None else self._places
            moves = np.linalg.norm(places - before, axis=1, keepdims=True) > MOVES_M
            self._places = places
            self._from, self._drive_from = self._to, self._drive_to
            drawn = np.clip(self._rng.normal(size=self._from.shape), -MOST, MOST)
            drive = np.clip(self._rng.normal(size=2), -MOST, MOST)
            self._to = self._sigma * MAX_STEP_M * drawn * moves
            self._drive_to = self._sigma * DRIVE_SIGMA * drive
        self._steps += 1
        part = ((self._steps - 1) % ROW_STEPS + 1) / ROW_STEPS
        self._now = self._from + (self._to - self._from) * part
        self._drive_now = self._drive_from + (self._drive_to - self._drive_from) * part

    def pose(self, commanded: Array, height_m: float, arm: int) -> Array:
        """float64[7]: where the arm goes. commanded: where it should, xyz and xyzw. height_m: of its tool now."""
        found = np.array(commanded, np.float64)
        found[:3] += self._now[arm] * share_at(height_m)
        found[2] = max(found[2], min(float(commanded[2]), LOWEST_M))
        return found

    def drive(self, commanded: tuple[float, float]) -> tuple[float, float]:
        """The velocity of the base, m/s ahead and rad/s; one that should stand does."""
        if not any(commanded):
            return commanded
        ahead, turn = np.array(commanded) + self._drive_now
        return float(ahead), float(turn)
