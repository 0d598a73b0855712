"""A trajectory controller as in ros2_controllers: a new trajectory replaces the old one at once.

It continues from its position at its velocity, by cubics through the points, and stays at the last
one. Independent of the code that it tests.
"""

import numpy as np


class TrajectoryController:
    """Joints float64[j] that start at rest at x."""

    def __init__(self, x):
        self.points = [(0.0, np.array(x, float), np.zeros(len(x)))]  # time s, position, velocity

    def take(self, now_s, way, stamp_ns):
        """Replace the trajectory: way has times_ns after stamp_ns, positions and velocities."""
        x, v, _ = self.at(now_s)
        later = [
            (1e-9 * (stamp_ns + t), p, v)
            for t, p, v in zip(way.times_ns, way.positions, way.velocities, strict=True)
        ]
        self.points = [(now_s, x, v), *(point for point in later if point[0] > now_s)]

    def at(self, now_s):
        """Position, velocity and acceleration at now_s."""
        for (t0, x0, v0), (t1, x1, v1) in zip(self.points, self.points[1:], strict=False):
            if now_s < t1:
                return _cubic(now_s - t0, t1 - t0, x0, x1, v0, v1)
        _, x, _ = self.points[-1]
        return x, np.zeros_like(x), np.zeros_like(x)


def _cubic(t, span, x0, x1, v0, v1):
    """By its coefficients, as joint_trajectory_controller samples it."""
    c2 = (3 * (x1 - x0) / span - 2 * v0 - v1) / span
    c3 = (2 * (x0 - x1) / span + v0 + v1) / span**2
    return (
        x0 + v0 * t + c2 * t**2 + c3 * t**3,
        v0 + 2 * c2 * t + 3 * c3 * t**2,
        2 * c2 + 6 * c3 * t,
    )
