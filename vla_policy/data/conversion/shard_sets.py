"""Demonstrations of `vla generate` (data/shards.py) as a LeRobot data set, and the reverse.

A shard has steps from the measured pose, a set has the resulting poses. The simulation's ground
truth, object positions, is lost; a set converted to shards lacks it, so it trains actions, not
vision.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_policy.data.conversion.bags import DEFAULTS, BagResult, Options, Tell, frames_per_second
from vla_policy.data.conversion.journal import ConversionJournal
from vla_policy.data.conversion.sources import RobotFile, named_robot
from vla_policy.data.frame import Episode, Frame
from vla_policy.data.frames import robot_of
from vla_policy.data.lerobot.reader import open_set
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.data.shards import (
    META_FILE,
    read_meta,
    read_shard,
    shard_path,
    shards_below,
    write_shard,
)
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.embodiment.spaces import TOOL_POSE
from vla_policy.geometry.quaternions import quaternion_multiply
from vla_policy.timing import NS_PER_S
from vla_policy.types import Array

EPISODES_IN_SHARD = 20
SIDE_PX = 96  # of the images in a shard
ARM, STEP = 8, 7  # columns of an arm: its measured pose and gripper; its step and gripper
NEEDED = ("front", "wrist", "state", "action", "episode")
_CONJUGATE = np.array([-1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Body:
    """A robot's columns in a shard.

    arms: prefix of the names of each. base: columns of its speeds.
    """

    arms: tuple[str, ...]
    base: tuple[str, ...]


def body_of(robot: Embodiment) -> Body:
    """Raises ValueError for a robot whose demonstrations are no tool poses and grippers."""
    tool = TOOL_POSE[0]
    arms = tuple(n.removesuffix(tool) for n in robot.state_names if n.endswith(tool))
    names = layout_of(robot).names
    own = [arm + name for arm in arms for name in (*TOOL_POSE, "gripper")]
    base = tuple(n for n in names if n.startswith("base."))
    if not arms or list(robot.state_names) != own or list(names) != [*own, *base]:
        raise ValueError(
            f"robot {robot.name!r}: its state is {', '.join(robot.state_names)} and its commands are {', '.join(names)}; "
            "expected poses of tools and grippers, as shards have them"
        )
    return Body(arms, base)


def shards_to_set(
    source: Path,
    destination: Path,
    options: Options = DEFAULTS,
    tell: Tell = lambda done, total: None,
) -> BagResult:
    """Add one episode for each demonstration that the set does not have yet; image sizes are kept.

    Raises ValueError for shards of single scenes, of several robots or of another robot.
    """
    file = named_robot(options.robot or robot_of(source))
    robot, body = file.robot, body_of(file.robot)
    fps = frames_per_second(robot, options.fps)
    shards = shards_below(source, META_FILE)
    for shard in shards:
        if read_meta(shard / META_FILE).get("what") != "episodes":
            raise ValueError(f"{shard}: has single scenes, expected episodes")
    with SetWriter(destination, robot, fps, robot_yaml=file.text) as writer:
        journal, outcome = ConversionJournal.read(writer.root, writer.episodes), BagResult()
        for done, shard in enumerate(shards):
            tell(done, len(shards))
            for name, task, frames in _demonstrations(shard, robot, body, fps):
                if journal.has(name):
                    outcome.skipped += 1
                    continue
                writer.begin(options.task or task)
                for frame in frames:
                    writer.add(frame, wait=True)
                journal.note(name, writer.episodes)
                outcome.frames += writer.save(True).length  # shards contain no failures
                outcome.episodes += 1
        tell(len(shards), len(shards))
    return outcome


def set_to_shards(
    source: Path,
    destination: Path,
    options: Options = DEFAULTS,
    tell: Tell = lambda done, total: None,
) -> BagResult:
    """Write a set's episodes that succeeded or have no verdict as shards that do not exist yet.

    Raises ValueError for a set of another robot, or of a robot without tool poses and grippers.
    """
    data = open_set(source)
    robot = _robot(data.robot_type, options.robot).robot
    body = body_of(robot)
    names = (robot.state_names, layout_of(robot).names)
    if (data.state_names, data.action_names) != names:
        raise ValueError(
            f"{source}: its columns are not those of robot {robot.name!r}; it has the action {', '.join(data.action_names)}"
        )
    if data.cameras != robot.camera_names:
        raise ValueError(
            f"{source}: got the cameras {', '.join(data.cameras)}, expected {', '.join(robot.camera_names)}"
        )
    kept = [k for k in range(len(data.entries)) if data.success(k) is not False]
    groups = [kept[i : i + EPISODES_IN_SHARD] for i in range(0, len(kept), EPISODES_IN_SHARD)]
    outcome = BagResult()
    for index, group in enumerate(groups):
        tell(index, len(groups))
        path = shard_path(destination, index)
        if path.exists():
            outcome.skipped += len(group)
            continue
        rows, texts = _rows([data.episode(k) for k in group], body)
        meta = {"what": "episodes", "robot": robot.name, "first": group[0], "count": len(group)}
        write_shard(path, rows, texts, meta)
        outcome.episodes += len(group)
        outcome.frames += len(texts)
    tell(len(groups), len(groups))
    return outcome


def _robot(said: str, named: str | None) -> RobotFile:
    if named is not None and not named.endswith((".yaml", ".yml")) and named != said:
        raise ValueError(f"got a set of robot {said!r}, expected {named!r}")
    return named_robot(named or said)


def _demonstrations(
    shard: Path, robot: Embodiment, body: Body, fps: int
) -> Iterator[tuple[str, str, Iterator[Frame]]]:
    """(a name for each demonstration, its task, its frames) of one shard."""
    arrays, texts = read_shard(shard)
    missing = [name for name in NEEDED if name not in arrays]
    width = STEP * len(body.arms) + 1 + len(body.base)
    if missing or arrays["state"].shape[1:] != (ARM * len(body.arms),):
        raise ValueError(f"{shard}: lacks {', '.join(missing) or 'the state of this robot'}")
    if arrays["action"].shape[1:] != (width,):
        raise ValueError(
            f"{shard}: got {arrays['action'].shape[1]} columns of action, expected {width} of {robot.name}"
        )
    episode = arrays["episode"]
    for number in dict.fromkeys(episode.tolist()):
        rows = np.flatnonzero(episode == number)
        frames = (
            _frame(arrays, texts, int(row), k, robot, body, fps) for k, row in enumerate(rows)
        )
        yield f"{shard.resolve()}:{number}", texts[rows[0]][0], frames


def _frame(
    arrays: dict[str, Array],
    texts: list[list[str]],
    row: int,
    number: int,
    robot: Embodiment,
    body: Body,
    fps: int,
) -> Frame:
    state = arrays["state"][row]
    action = targets(arrays["action"][row], state, body)
    wrist = arrays["wrist"][row]
    wrists = wrist if wrist.ndim == 4 else wrist[None]
    pictures = [np.array(image) for image in (arrays["front"][row], *wrists)]
    return Frame(
        stamp_ns=round(number * NS_PER_S / fps),  # a shard has no times
        images=dict(zip(robot.camera_names, pictures, strict=True)),
        state=state,
        action=action.astype(np.float32),
        proposed=action.astype(np.float32),
        control_source="other",
        intervention=False,
        guard_level=0,
        valid=True,
        task=texts[row][0],
    )


def targets(action: Array, state: Array, body: Body) -> Array:
    """float64[..., d]: the poses after the rows' steps from the measured states, as commanded."""
    values: list[Array] = []
    for arm in range(len(body.arms)):
        pose = np.asarray(state[..., ARM * arm : ARM * arm + 7], np.float64)
        step = np.asarray(action[..., STEP * arm : STEP * arm + STEP], np.float64)
        half = step[..., 3:6] / 2.0  # small-angle vector part of the quaternion, as in labels
        scalar = np.sqrt(np.maximum(0.0, 1.0 - np.sum(half * half, -1, keepdims=True)))
        rotation = quaternion_multiply(np.concatenate((half, scalar), -1), pose[..., 3:])
        rotation = rotation / np.linalg.norm(rotation, axis=-1, keepdims=True)
        values += [pose[..., :3] + step[..., :3], rotation, step[..., 6:]]
    return np.concatenate((*values, action[..., STEP * len(body.arms) + 1 :]), axis=-1)


def steps(action: Array, state: Array, body: Body, *, terminate: bool) -> Array:
    """float32 of one row of a shard: the inverse of targets."""
    values: list[Array] = []
    for arm in range(len(body.arms)):
        target = np.asarray(action[ARM * arm : ARM * arm + ARM], np.float64)
        pose = np.asarray(state[ARM * arm : ARM * arm + 7], np.float64)
        turn = quaternion_multiply(target[3:7], pose[3:] * _CONJUGATE)
        sign = 1.0 if turn[3] >= 0 else -1.0
        values += [target[:3] - pose[:3], 2.0 * sign * turn[:3], target[7:]]
    speeds = np.asarray(action[ARM * len(body.arms) :])
    return np.concatenate((*values, [float(terminate)], speeds)).astype(np.float32)


def _rows(episodes: list[Episode], body: Body) -> tuple[dict[str, Array], list[list[str]]]:
    """Arrays and texts of one shard."""
    from vla_policy.families.tiny.tiny import fit_square  # imports torch, needed only here

    columns: dict[str, list[Any]] = {name: [] for name in (*NEEDED, "t")}
    texts: list[list[str]] = []
    for episode in episodes:
        for number, frame in enumerate(episode.frames):
            last = number == len(episode) - 1
            front, *wrists = (fit_square(image, SIDE_PX) for image in frame.images.values())
            columns["front"].append(front)
            columns["wrist"].append(wrists[0] if len(wrists) == 1 else np.stack(wrists))
            columns["state"].append(frame.state)
            columns["action"].append(steps(frame.action, frame.state, body, terminate=last))
            columns["episode"].append(np.int32(episode.index))
            columns["t"].append(np.int32(number))
            texts.append([frame.task])
    return {name: np.stack(values) for name, values in columns.items()}, texts
