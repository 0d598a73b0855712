"""`vla generate metaworld`: demonstrations of Meta-World's own scripted policies, shards of one task each.

The script sees the simulation's state; half of the episodes are disturbed, and the label is what it wants, so that the data
shows how to come back. Beside images and actions a frame has where the task's things are, in space and in both images, from
which a policy learns to point. Goals are Meta-World's 50 of a seed; an episode that fails is tried again, disturbed anew.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from vla_policy.data.shards import shard_path, write_shard
from vla_policy.sim.metaworld_tasks import MT50, ROBOT, sentence_of
from vla_policy.types import Array

SHARES = (0.0, 0.3)  # of an action's largest value: deviation of the disturbance of a row
TRIES = 4
PARTS = (0, 10, 25, 50)  # of each task's demonstrations: what is made first is balanced by itself
NO_LABEL, SIZE_M = -100, 0.02  # colour and shape are not told apart here
THINGS = {"target": slice(4, 7), "reference": slice(11, 14), "destination": slice(36, 39)}


def make(out: Path, count: int, seed: int, workers: int) -> list[str]:
    """The missing shards of all 50 tasks; what scripts could not do, in words.

    count: demonstrations of each, at most 50.
    """
    parts = [(first, min(end, count)) for first, end in pairwise(PARTS)]
    jobs = [
        (str(shard_path(out, k * len(MT50) + i)), name, i, *part, seed)
        for k, part in enumerate(parts)
        for i, name in enumerate(MT50)
        if part[0] < part[1] and not shard_path(out, k * len(MT50) + i).exists()
    ]
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(1, min(workers, len(jobs)))) as pool:
        said = list(track(pool.imap_unordered(_make_shard, jobs), "shards", len(jobs)))
    return [text for text in said if text]


def _make_shard(job: tuple[str, str, int, int, int, int]) -> str:
    """Makes one shard; returns what the script could not do."""
    os.environ["LP_NUM_THREADS"] = "0"  # the other threads of a renderer cost more than they help
    from vla_policy.sim.metaworld import Sight, task_of

    warnings.filterwarnings("ignore", message="Constant")
    path, name, index, first, end, seed = job
    env, goals = task_of(name, seed)
    sight, frames, kept, tried = Sight(env), [], 0, 0
    for number in range(first, end):
        env.set_task(goals[number])
        for attempt in range(TRIES):
            rng = np.random.default_rng([seed, index, number, attempt])
            tried += 1
            episode = demonstrate(env, sight, name, rng, SHARES[(number + attempt) % 2])
            if episode:
                known = {"episode": np.int32(index * len(goals) + number)}
                frames += [f | known | {"t": np.int32(t)} for t, f in enumerate(episode)]
                kept += 1
                break
    arrays = {key: np.stack([f[key] for f in frames]) for key in frames[0]}
    meta = {"what": "episodes", "robot": ROBOT, "task": name, "seed": seed, "first": first}
    meta |= {"count": kept, "tried": tried}
    write_shard(Path(path), arrays, [[sentence_of(name)]] * len(frames), meta)
    return "" if kept == end - first else f"{name}: the script did {kept} of {end - first}"


def demonstrate(
    env: Any, sight: Any, name: str, rng: np.random.Generator, share: float
) -> list[dict[str, Any]]:
    """The frames of one episode from the environment's start; none if it does not succeed in time."""
    from metaworld.policies import ENV_POLICY_MAP

    from vla_policy.sim.metaworld import REACH_M, STEPS, SawyerHand

    script, hand = ENV_POLICY_MAP[f"{name}-v3"](), SawyerHand(env)
    seen, _ = env.reset()
    frames: list[dict[str, Any]] = []
    for _ in range(env.max_path_length // STEPS):
        frame, begun = label(sight, seen), hand.sent
        disturbance, wanted, done = rng.normal(0.0, share, 3), [], False
        for _ in range(STEPS):
            action = np.clip(script.get_action(seen), -1.0, 1.0)
            wanted.append(action)
            sent = np.clip([*(action[:3] + disturbance), action[3]], -1.0, 1.0)
            seen, _, _, _, info = env.step(sent)
            done = done or bool(info["success"])
        place, opening = begun + REACH_M * np.sum(wanted, 0)[:3], 0.5 - np.mean(wanted, 0)[3] / 2
        way = np.clip(place, env.mocap_low, env.mocap_high) - frame["state"][:3]
        frame["action"] = np.array([*way, 0.0, 0.0, 0.0, opening, 0.0], np.float32)
        frames.append(frame)
        if done:
            return frames
    return []


def label(sight: Any, seen: Array) -> dict[str, Any]:
    """Images, state and places of one moment. A place that the task has not is NaN."""
    from vla_policy.sim.metaworld import CAMERA, NEAR, state_of

    things = np.stack([seen[part] for part in THINGS.values()])
    things[~things.any(1)] = np.nan
    uv = sight.project(things)
    near = sight.near(uv[0], seen[:3])
    images = sight.look(seen[:3])
    with np.errstate(invalid="ignore"):
        visible = bool(((near > 0) & (near < 1) & (uv[0] > 0) & (uv[0] < 1)).all())
    places = {f"{thing}_xyz": xyz[None] for thing, xyz in zip(THINGS, things, strict=True)}
    floats = places | {
        "state": state_of(seen),
        "target_size": np.array([SIZE_M]),
        "front_uv": uv[None],
        "wrist_uv": near[None],
    }
    return {key: value.astype(np.float32) for key, value in floats.items()} | {
        "front": images[CAMERA],
        "wrist": images[NEAR],
        "target_colour": np.array([NO_LABEL], np.int8),
        "target_shape": np.array([NO_LABEL], np.int8),
        "wrist_visible": np.array([visible]),
    }
