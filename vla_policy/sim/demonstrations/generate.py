"""`vla generate scenes|episodes`: data sets from the simulation, deterministic by seed.

scenes: single frames with the arm in plausible places, to learn looking.
episodes: demonstrations of the scripted expert at 10 Hz, to learn moving.
Scene seeds are seed * 100 000 + index with seed 0..9; evaluation uses seeds from 1 000 000.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.data.shards import shard_path, write_shard

if TYPE_CHECKING:  # the simulation is loaded where it is used
    from vla_policy.sim.demonstrations.labels import Frame
    from vla_policy.sim.world.world import World

SEEDS_PER_SET = 100_000
SHARD_ROWS = {"scenes": 200, "episodes": 20}
# what, folder, index of the shard, its first scene, their count, seed, split, renderer, share of the ray caster, robot, and of
# episodes the family of the task; "": drawn
Job: TypeAlias = tuple[str, str, int, int, int, int, str, str, float, str, str]
DEFAULT_COUNT = {"scenes": 16_000, "episodes": 1_800}


def make_shards(jobs: list[Job], workers: int, what: str) -> None:
    if not jobs:
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")
    with Progress(*columns) as progress, context.Pool(min(workers, len(jobs))) as pool:
        bar = progress.add_task(what, total=sum(job[4] for job in jobs))
        for made in pool.imap_unordered(_make_shard, jobs):
            progress.advance(bar, made)


@cache
def _world(renderer: str, robot: str) -> World:
    """One of each kind for every worker process; a model takes a while."""
    from vla_policy.sim.world.world import World

    return World(renderer=renderer, robot=robot)


def _make_shard(job: Job) -> int:
    """Make one shard in a worker process; returns its number of scenes or episodes."""
    os.environ["LP_NUM_THREADS"] = "1"
    what, out, index, first, count, seed, split, renderer, ray_share, robot, family = job
    makers: dict[str, Callable[..., int]] = {
        "scenes": _make_scene,
        "episodes": partial(_make_episode, family=family or None),
    }
    make = makers[what]
    frames: list[Frame] = []
    texts: list[list[str]] = []
    started = time.monotonic()
    tried = 0
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        world = _world("raycast" if rng.random() < ray_share else renderer, robot)
        tried += make(world, seed * SEEDS_PER_SET + number, split, rng, frames, texts)
    arrays = {name: np.stack([f[name] for f in frames]) for name in frames[0]}
    meta = {"what": what, "seed": seed, "split": split, "first": first, "count": count}
    meta |= {"robot": robot} | ({"family": family} if family else {})
    meta |= {"tried": tried, "seconds": round(time.monotonic() - started, 1)}
    write_shard(shard_path(Path(out), index), arrays, texts, meta)
    return count


def _make_scene(
    world: World, scene_seed: int, split: str, rng: np.random.Generator,
    frames: list[Frame], texts: list[list[str]],
) -> int:  # fmt: skip
    from vla_policy.sim.demonstrations.labels import QUERIES, label_frame, sample_queries
    from vla_policy.sim.demonstrations.start_poses import place_like_demonstration
    from vla_policy.sim.scenes.scene import sample_scene

    scene = sample_scene(scene_seed, split=split, robot=world.twin.name)
    place_like_demonstration(world, scene, rng)
    tasks = sample_queries(scene, world.truth().object_xyz, rng, QUERIES)
    frames.append(label_frame(world, tasks))
    texts.append([t.instruction for t in tasks])
    return 1


def _make_episode(
    world: World, scene_seed: int, split: str, rng: np.random.Generator,
    frames: list[Frame], texts: list[list[str]], family: str | None = None,
) -> int:  # fmt: skip
    from vla_policy.sim.demonstrations.record import demonstrate

    return demonstrate(world, scene_seed, split, rng, frames, texts, family)
