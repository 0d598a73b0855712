"""What random policies want: paths of each group over time, and chunks of them in the policy's words."""

from __future__ import annotations

import math

import numpy as np

from .description import BASE, HAND, JOINTS, TOOL, TWIST, Described, Group

MONOTONE, WANDER = "monotone", "wander"


class Path:
    """Where one group is to be at a steady time, from start on at begin_ns.

    monotone: along one line, ever slower, so that nothing ever has a reason to go back. wander: sums of
    sines. Of twists and bases it is a velocity.
    """

    def __init__(
        self, rng: np.random.Generator, group: Group, start: np.ndarray, begin_ns: int, style: str
    ) -> None:
        self.group, self.style, self.begin_ns = group, style, begin_ns
        self.start = np.array(start, dtype=float)
        self.direction: np.ndarray | None = None
        kind = group.kind
        if kind == HAND:
            self.period_s = float(rng.uniform(0.5, 3.0))
            return
        size = len(start) if kind == JOINTS else 6
        self.constant: np.ndarray | None = None
        if kind in (TWIST, BASE):
            fastest = 1.2 * np.repeat(group.speed, 3)
            self._random(rng, size, fastest)
            if rng.random() < 0.5:  # straight on, into whatever is there
                way = rng.normal(size=6)
                way[:3] /= np.linalg.norm(way[:3])
                way[3:] *= 0.2
                self.constant = way * fastest * rng.uniform(0.3, 1.0)
            return
        speed = group.speed if kind == JOINTS else np.repeat(group.speed, 3)
        if style == MONOTONE:
            self._line(rng, size, speed)
        else:
            self._random(rng, size, speed)

    def _line(self, rng, size, speed) -> None:
        group = self.group
        direction = rng.uniform(-1.0, 1.0, size)
        direction[rng.random(size) < 0.3] = 0.0
        if not direction.any():
            direction[0] = 1.0
        slow = group.acceleration if group.kind == JOINTS else np.repeat(group.acceleration, 3)
        rate = direction / np.abs(direction).max() * speed * rng.uniform(0.2, 1.3)
        # Slower than anybody brakes: a way to rest behind it never leads beyond the line.
        self.tau_s = max(float(np.max(np.abs(rate) / (0.25 * slow))), 1.0)
        far = rate * self.tau_s
        room = self._room(far[:3] if group.kind == TOOL else far)
        if room < 1.0:
            rate *= max(room, 0.0)
            far *= max(room, 0.0)
        self.rate, self.direction = rate, far

    def _room(self, far) -> float:
        """The share of the way that stays inside, with a margin."""
        lower, upper = (
            (self.group.lower, self.group.upper)
            if self.group.kind == JOINTS
            else self.group.box or (np.full(3, -9.0), np.full(3, 9.0))
        )
        here = self.start[: len(far)]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = np.where(far > 0, upper - 0.01 - here, here - lower - 0.01)
            share = np.where(far != 0, gap / np.abs(far), np.inf)
        return float(np.clip(share.min(), 0.0, 1.0))

    def _random(self, rng, size, speed) -> None:
        self.frequency = rng.uniform(0.05, 1.2, (3, size)) * math.tau
        self.phase = rng.uniform(0.0, math.tau, (3, size))
        share = rng.uniform(0.05, 0.8, (3, size)) * speed / 2.0
        velocity = self.group.kind in (TWIST, BASE)
        self.amplitude = share if velocity else share / self.frequency
        if rng.random() < 0.2:
            self.amplitude *= 3.0

    def share(self, time_ns: int | np.ndarray) -> float | np.ndarray:
        """How much of its line a monotone path has gone, 0 to 1, at steady times."""
        s = np.maximum(0.0, (np.asarray(time_ns) - self.begin_ns) / 1e9)
        return 1.0 - np.exp(-s / self.tau_s)

    def at(self, time_ns: int) -> np.ndarray:
        """float64[j] of joints, [7] of tools, [6] of velocities, [1] of a hand."""
        s = max(0.0, (time_ns - self.begin_ns) / 1e9)
        kind = self.group.kind
        if kind == HAND:
            return np.array([0.5 + 0.5 * math.sin(math.tau * s / self.period_s)])
        if kind in (TWIST, BASE) and self.constant is not None:
            return self.constant
        if self.style == MONOTONE and kind not in (TWIST, BASE):
            away = self.rate * self.tau_s * self.share(time_ns)
        else:
            way = self.amplitude * (np.sin(self.frequency * s + self.phase) - np.sin(self.phase))
            away = way.sum(axis=0)
        if kind != TOOL:
            return away if kind in (TWIST, BASE) else self.start + away
        return np.concatenate((self.start[:3] + away[:3], _spun(self.start[3:], 0.5 * away[3:])))


def rows_of(robot: Described, paths: dict[str, Path], obs_ns: int, count: int) -> np.ndarray:
    """float64[count, columns] as the robot's policy speaks, of what paths want from obs_ns on.

    Row k is reached one step after it is due.
    """
    columns = []
    for group in robot.groups:
        wanted = np.array(
            [paths[group.name].at(obs_ns + (k + 1) * robot.step_ns) for k in range(count)]
        )
        columns.append(_spoken(group, wanted, paths[group.name].at(obs_ns)))
    return np.concatenate(columns, axis=1)


def _spoken(group: Group, wanted: np.ndarray, first: np.ndarray) -> np.ndarray:
    if group.kind == HAND:
        return wanted if group.opens_up else 1.0 - wanted
    if group.kind == BASE:
        axes = {"vx": 0, "vy": 1, "vz": 2, "wx": 3, "wy": 4, "wz": 5}
        return wanted[:, [axes[c.rpartition(".")[2]] for c in group.columns]]
    if group.kind == TWIST:
        return wanted
    if group.kind == JOINTS:
        rows = wanted
        if group.reference == "chunk_start":
            rows = wanted - first
        elif group.reference != "absolute":
            rows = np.diff(np.concatenate((first[None], wanted)), axis=0)
        return np.degrees(rows) if group.unit == "deg" else rows
    if group.reference == "absolute":
        return wanted
    before = np.concatenate((first[None], wanted))[:-1, :3]
    steps = wanted[:, :3] - (first[:3] if group.reference == "chunk_start" else before)
    return np.concatenate((steps, np.zeros((len(steps), len(group.columns) - 3))), axis=1)


def _spun(q: np.ndarray, turn: np.ndarray) -> np.ndarray:
    angle = float(np.linalg.norm(turn))
    if angle < 1e-12:
        return q
    x, y, z = np.sin(angle / 2) * turn / angle
    w = math.cos(angle / 2)
    a, b, c, d = q
    out = np.array([
        w * a + x * d + y * c - z * b, w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d, w * d - x * a - y * b - z * c,
    ])  # fmt: skip
    return out / np.linalg.norm(out)
