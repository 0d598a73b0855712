"""What controllers play: each message becomes a piece of motion that replaces the one before.

Written from the published behaviour of ros2_controllers (joint_trajectory_controller: replacement from the
present state, cubic where both ends have velocities, linear where not, hold of the last point;
forward_command_controller: the last value stands), of Cartesian pose controllers (the last target
stands), of diff_drive_controller and MoveIt Servo (a velocity lasts until the next one or the time-out).
Arms follow perfectly: what is played is the best that a robot could do with what it was told.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

BASE_TIMEOUT_NS = 500_000_000
SERVO_TIMEOUT_NS = 100_000_000
ZERO_VELOCITY = 1e-7


@dataclass(frozen=True)
class Play:
    """Motion from start_ns on: knots at times_ns, positions float64[k, d], velocities or None (linear).

    own: of our messages; else of a hand or another program.
    """

    start_ns: int
    times_ns: tuple[int, ...]
    positions: np.ndarray
    velocities: np.ndarray | None
    own: bool


class Channel:
    """One controller. plays: all that it has played, oldest first."""

    def __init__(self, start: np.ndarray) -> None:
        start = np.array(start, dtype=float)
        self.plays = [Play(0, (0,), start[None], None, own=False)]
        self._starts = [0]

    def add(self, play: Play) -> None:
        self.plays.append(play)
        self._starts.append(play.start_ns)

    def at(self, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Position and velocity at a time, of the piece that is then played."""
        play = self.plays[max(0, bisect_right(self._starts, time_ns) - 1)]
        return one(play, time_ns)

    def hold(self, time_ns: int) -> None:
        """The controller starts anew and stays where it is."""
        here, _ = self.at(time_ns)
        self.add(Play(time_ns, (time_ns,), here[None], None, own=False))

    def led(self, time_ns: int, end_ns: int, target: np.ndarray) -> None:
        """A hand, or another program, leads from here to target."""
        here, _ = self.at(time_ns)
        still = np.zeros((2, len(here)))
        way = np.stack((here, target))
        self.add(Play(time_ns, (time_ns, end_ns), way, still, own=False))

    def trajectory(
        self, now_ns: int, stamp_ns: int, times_ns: list[int], points, rates
    ) -> str | None:
        """A JointTrajectory; or why the controller refuses it. stamp_ns, now_ns: of its own clock."""
        if not times_ns or any(b <= a for a, b in itertools.pairwise(times_ns)):
            return "times that do not increase"
        start_ns = stamp_ns or now_ns
        if start_ns + times_ns[-1] < now_ns:
            return "an end in the past"
        if rates is not None and np.abs(rates[-1]).max() > ZERO_VELOCITY:
            return "a last velocity that is not zero"
        knots = [start_ns + t for t in times_ns]
        here, moving = self.at(now_ns)
        if knots[0] > now_ns:
            knots = [now_ns, *knots]
            points = np.concatenate((here[None], points))
            rates = None if rates is None else np.concatenate((moving[None], rates))
        self.add(Play(now_ns, tuple(knots), points, rates, own=True))
        return None

    def step(self, now_ns: int, target: np.ndarray, within_ns: int) -> None:
        """The last value stands; a robot gets there within one command period."""
        here, _ = self.at(now_ns)
        if len(target) == 7 and here[3:] @ target[3:] < 0.0:
            target = np.concatenate((target[:3], -target[3:]))
        way = np.stack((here, target))
        self.add(Play(now_ns, (now_ns, now_ns + within_ns), way, None, own=True))

    def drive(self, now_ns: int, velocity: np.ndarray, timeout_ns: int) -> None:
        """A velocity of what is integrated, until the time-out."""
        here, _ = self.at(now_ns)
        end = here + velocity * (timeout_ns / 1e9)
        way = np.stack((here, end))
        self.add(Play(now_ns, (now_ns, now_ns + timeout_ns), way, None, own=True))

    def played(self, times_ns: np.ndarray):
        """Positions float64[n, d], velocities and bool[n] own at times, which increase."""
        n, d = len(times_ns), self.plays[0].positions.shape[1]
        positions, velocities = np.empty((n, d)), np.zeros((n, d))
        own = np.zeros(n, dtype=bool)
        bounds = np.searchsorted(times_ns, [*self._starts[1:], np.iinfo(np.int64).max])
        first = 0
        for play, last in zip(self.plays, bounds, strict=True):
            if last > first:
                part = slice(first, last)
                positions[part], velocities[part] = _many(play, times_ns[part])
                own[part] = play.own
                first = last
        return positions, velocities, own


def one(play: Play, time_ns: int) -> tuple[np.ndarray, np.ndarray]:
    times = play.times_ns
    if len(times) == 1 or time_ns >= times[-1]:
        return play.positions[-1], np.zeros_like(play.positions[-1])
    k = max(0, bisect_right(times, time_ns) - 1)
    a, b = play.positions[k], play.positions[k + 1]
    h = (times[k + 1] - times[k]) / 1e9
    s = (time_ns - times[k]) / 1e9 / h
    if play.velocities is None:
        return a + s * (b - a), (b - a) / h
    va, vb = play.velocities[k] * h, play.velocities[k + 1] * h
    return _cubic(a, b, va, vb, s, h)


def _cubic(a, b, va, vb, s, h):
    way = b - a
    c2, c3 = 3 * way - 2 * va - vb, va + vb - 2 * way
    return a + s * (va + s * (c2 + s * c3)), (va + s * (2 * c2 + 3 * s * c3)) / h


def _many(play: Play, times_ns: np.ndarray):
    times = np.array(play.times_ns)
    if len(times) == 1:
        shape = (len(times_ns), play.positions.shape[1])
        return np.broadcast_to(play.positions[0], shape), np.zeros(shape)
    k = np.clip(np.searchsorted(times, times_ns, side="right") - 1, 0, len(times) - 2)
    h = ((times[k + 1] - times[k]) / 1e9)[:, None]
    s = np.clip(((times_ns - times[k]) / 1e9)[:, None] / h, 0.0, 1.0)
    over = times_ns >= times[-1]
    a, b = play.positions[k], play.positions[k + 1]
    if play.velocities is None:
        positions, velocities = a + s * (b - a), np.where(over[:, None], 0.0, (b - a) / h)
    else:
        va, vb = play.velocities[k] * h, play.velocities[k + 1] * h
        positions, velocities = _cubic(a, b, va, vb, s, h)
        velocities[over] = 0.0
    return positions, velocities
