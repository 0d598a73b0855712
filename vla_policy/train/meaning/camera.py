"""The average front camera of training: maps the gripper's position to the image."""

from __future__ import annotations

import numpy as np

from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.world.world import World
from vla_policy.types import Array

LOWER, UPPER = (0.15, -0.3, 0.0), (0.5, 0.3, 0.25)  # range of gripper positions
PLACES = 20  # of each scene


def fit_camera(first: int, count: int) -> Array:
    """float64[3, 4], least-squares projection of count scenes' cameras, from seed first on."""
    world = World(renderer="raycast")  # nothing is rendered
    rng = np.random.default_rng(first)
    places, seen = [], []
    for seed in range(first, first + count):
        world.reset(sample_scene(seed))
        places.append(rng.uniform(LOWER, UPPER, (PLACES, 3)))
        seen.append(world.project("front", places[-1]))
    world.close()
    return projection(np.concatenate(places), np.concatenate(seen))


def projection(xyz: Array, uv: Array) -> Array:
    """float64[3, 4] projection of xyz, float64[n, 3], to uv, float64[n, 2]; n at least 6."""
    known = np.concatenate((xyz, np.ones((len(xyz), 1))), axis=1)
    none = np.zeros_like(known)
    rows = [
        np.concatenate((known, none, -uv[:, :1] * known), axis=1),
        np.concatenate((none, known, -uv[:, 1:] * known), axis=1),
    ]
    found: Array = np.linalg.svd(np.concatenate(rows), full_matrices=False)[2][-1].reshape(3, 4)
    return found
