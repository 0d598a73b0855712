"""Images of drawn scenes with their objects, to train and measure the naming head."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from vla_policy.families.tiny.pointing_training import plain, relit
from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
from vla_policy.sim.scenes.scene import COLOURS, SHAPES, sample_scene
from vla_policy.sim.world.world import World

SPLITS = ("train", "unseen_pairs", "other_table", "moved_camera")
RAYCAST = 0.12  # share of images rendered by the CPU ray caster


@dataclass(frozen=True, slots=True)
class Pictures:
    """front: uint8[n, h, w, 3].

    uv: float64[n, k, 2] centres of k objects. colour, shape: int[n, k].
    """

    front: np.ndarray
    uv: np.ndarray
    colour: np.ndarray
    shape: np.ndarray


def render(robot: str, first: int, count: int, *, works: bool = True) -> Pictures:
    """count scenes from seed first on, each with the arm at its start pose and, if works, during a task."""
    worlds = {kind: World(renderer=kind, robot=robot) for kind in ("auto", "raycast")}
    rows: list[tuple[np.ndarray, ...]] = []
    for i in range(count):
        scene = sample_scene(first + i, split=SPLITS[i % len(SPLITS)], robot=robot)
        for at_work in (False, True)[: 1 + works]:
            rng = np.random.default_rng([first + i, 7, at_work])
            world = worlds["raycast" if rng.random() < RAYCAST else "auto"]
            if at_work:
                place_like_demonstration(world, scene, rng)
            else:
                world.reset(scene)
            truth = world.truth()
            objects = truth.scene.objects
            rows.append(
                (
                    world.render("front"),
                    world.project("front", truth.object_xyz),
                    np.array([COLOURS.index(o.colour) for o in objects]),
                    np.array([SHAPES.index(o.shape) for o in objects]),
                )
            )
    return Pictures(*(np.stack(column) for column in zip(*rows, strict=True)))


def to_images(images: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """uint8[b, h, w, 3] to float32[b, 3, h, w] in [-1, 1], with random light and noise if rng is given."""
    x = torch.from_numpy(images)
    if rng is None:
        return plain(x)
    seeds = rng.integers(2**62, size=len(images))
    return relit(x, [torch.Generator().manual_seed(int(seed)) for seed in seeds])


def first(pictures: Pictures, count: int) -> Pictures:
    """The first count images."""
    return Pictures(*(getattr(pictures, f.name)[:count] for f in fields(Pictures)))
