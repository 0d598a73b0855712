"""Where everything stands when a scenario begins."""

from __future__ import annotations

import numpy as np

from .description import BASE, HAND, JOINTS, TOOL, TWIST, Described, Group


def start_places(robot: Described, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Where everything stands at first: somewhere inside, out of boxes."""
    places = {}
    for group in robot.groups:
        if group.kind == JOINTS:
            middle, half = (group.lower + group.upper) / 2, (group.upper - group.lower) / 2
            places[group.name] = middle + rng.uniform(-0.8, 0.8, len(middle)) * half
        elif group.kind in (TOOL, TWIST):
            size = 7 if group.kind == TOOL else 6
            place = np.zeros(size)
            place[:3] = _free(robot, rng, group)
            if group.kind == TOOL:
                place[3:] = rng.normal(size=4)
                place[3:] /= np.linalg.norm(place[3:])
            places[group.name] = place
        elif group.kind == BASE:
            places[group.name] = np.zeros(6)
        elif group.kind == HAND:
            places[group.name] = np.array([rng.random()])
    return places


def _free(robot: Described, rng: np.random.Generator, group: Group) -> np.ndarray:
    lower, upper = group.box
    for _ in range(100):
        place = rng.uniform(lower + 0.02, upper - 0.02)
        inside = [
            ((place > low - 0.03) & (place < high + 0.03)).all() for low, high in robot.keep_out
        ]
        if not any(inside):
            return place
    raise ValueError(f"{robot.name}: no free place")
