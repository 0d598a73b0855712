"""Position of the demonstrated object, without labels: where the gripper closed on it, then inside the gripper.

Until the gripper closes the object lies where it will close, while it is closed the object moves with
the tool, and afterwards it lies where the gripper opened. So a few demonstrations give hundreds of
images with a known object position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.family import require_image
from vla_policy.families.tiny import tiny
from vla_policy.families.tiny.columns import robot_columns
from vla_policy.families.training import Demonstration
from vla_policy.train.training_set import TrainingSet
from vla_policy.types import Array

CLOSES = 0.15  # decrease of the opening within WINDOW frames
WINDOW = 4
OPENS = 0.08
CLOSED = 0.03  # above the smallest opening of a grasp
AWAY_M = 0.07  # from tool to object, beyond which the front image shows the object uncovered


@dataclass(frozen=True, slots=True)
class ShownThing:
    """n frames.

    front, wrist: uint8[n, h, w, 3]; the front image at the size of the camera's message.
    tool: float32[n, 4], x y z in m and the opening. xyz: float32[n, 3], object in the base frame.
    free: bool[n], the object lies still and the tool is away. episode: int64[n]. sentences: of each frame.
    """

    front: Array
    wrist: Array
    tool: Array
    xyz: Array
    free: Array
    episode: Array
    sentences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sentences)


def shown_thing(checkpoint: Checkpoint, data: TrainingSet) -> ShownThing:
    """All frames of a set. Raises ValueError, naming the episode, if no gripper closes, or for a robot with several arms."""
    contract = checkpoint.contract
    body = robot_columns(contract, checkpoint.model.config.action_dim)
    if len(body.arms) != 1:
        raise ValueError(
            f"adapt: got a robot of {len(body.arms)} arms, expected one: which hand shows the thing is not known"
        )
    front, wrist = contract.camera_names
    parts: list[tuple[Array, ...]] = []
    said: list[str] = []
    for number, frames in enumerate(_episodes(data)):
        seen = [f.observation for f in frames]
        measured = np.stack([tiny.measured_of(o, body.arms[0]) for o in seen])
        tool = measured[:, [0, 1, 2, 7]]
        xyz = places(tool, f"{data.source.label}, episode {data.episodes[number]}")
        free = np.linalg.norm(tool[:, :3] - xyz, axis=1) > AWAY_M
        parts.append(
            (
                np.stack([require_image(o.images, front) for o in seen]),
                np.stack([require_image(o.images, wrist) for o in seen]),
                tool.astype(np.float32),
                xyz.astype(np.float32),
                free,
                np.full(len(frames), number),
            )
        )
        said += [o.instruction for o in seen]
    fronts, wrists, tools, places_of, free_of, episodes = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return ShownThing(fronts, wrists, tools, places_of, free_of, episodes, tuple(said))


def places(tool: Array, where: str) -> Array:
    """float64[n, 3]: the object in each frame, from the tool, float64[n, 4]. where: for the error message."""
    opening = tool[:, 3]
    later = opening[np.minimum(np.arange(len(tool)) + WINDOW, len(tool) - 1)]
    fall = opening - later
    if not fall.size or fall.max() < CLOSES:
        raise ValueError(
            f"{where}: the gripper closes by {max(0.0, fall.max(initial=0.0)):.0%} of its range at most, expected a grasp "
            f"(at least {CLOSES:.0%}): without one it is not known which thing is meant"
        )
    # Of equal decreases the lowest tool: at an unusual start the gripper may close in the air.
    close = int(np.argmax(fall - 2.0 * tool[:, 2]))
    window = opening[close : close + WINDOW + 1]
    held = close + int(np.argmax(window <= window.min() + CLOSED))  # the fingers touch the object
    least = opening[held:].min()
    opened = np.flatnonzero(opening[held:] > max(least, opening[held]) + OPENS)
    release = held + int(opened[0]) if len(opened) else len(tool)
    found = np.array(tool[:, :3], float)
    found[:held] = tool[held, :3]
    if release < len(tool):
        found[release:] = tool[max(release - 1, held), :3]
    return found


def _episodes(data: TrainingSet) -> Iterator[list[Demonstration]]:
    """The frames of each episode in order; time starts at zero in each."""
    frames: list[Demonstration] = []
    for frame in data:
        if frames and frame.observation.obs_ns <= frames[-1].observation.obs_ns:
            yield frames
            frames = []
        frames.append(frame)
    if frames:
        yield frames
