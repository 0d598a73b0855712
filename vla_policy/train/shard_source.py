"""Shards of demonstrations (`vla generate episodes`) as a source: memory-mapped images, steps made absolute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vla_policy.data.conversion.shard_sets import ARM, NEEDED, STEP, Body, body_of, targets
from vla_policy.data.conversion.sources import named_robot
from vla_policy.data.frame import CONTROL_SOURCES
from vla_policy.data.frames import robot_of
from vla_policy.data.shards import META_FILE, read_array, read_meta, read_shard, shards_below
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.train.set_numbers import SetNumbers
from vla_policy.types import Array

SAME_TASK = 3  # sentences of a frame with the meaning of its task; the others name other objects


class ShardSource:
    """SetSource of the shards in a folder.

    Raises ValueError for single scenes or several robots.
    """

    own = True
    robot_yaml = ""  # a shard has only its robot's name

    def __init__(self, root: Path, robot: str | None = None) -> None:
        self.label = root.name or str(root)
        self.robot_name = robot_of(root)
        embodiment = named_robot(robot or self.robot_name).robot
        body = body_of(embodiment)
        self.fps = float(embodiment.policy_hz)
        self.cameras = embodiment.camera_names
        self.state_names = embodiment.state_names
        self.action_names = layout_of(embodiment).names
        self._shards = shards_below(root, META_FILE)
        self._open: list[dict[str, Array]] | None = None
        read = [_read(shard, embodiment, body) for shard in self._shards]
        self._texts = [texts for _, rows in read for texts in rows]
        starts = [len(rows) for _, rows in read]
        self._starts = np.cumsum(starts) - starts
        self.numbers = _joined([part for part, _ in read])

    def image(self, episode: int, number: int, camera: str) -> Array:
        """As SetSource.image; memory-mapped."""
        frame = int(self.numbers.first[episode]) + number
        shard = int(np.searchsorted(self._starts, frame, "right")) - 1
        row = frame - int(self._starts[shard])
        place = self.cameras.index(camera)
        if place == 0:
            return np.asarray(self._images(shard)["front"][row])
        wrist = np.asarray(self._images(shard)["wrist"][row])
        return wrist if wrist.ndim == 3 else wrist[place - 1]

    def sentences(self, episode: int, number: int) -> Sequence[str]:
        """As SetSource.sentences."""
        return self._texts[int(self.numbers.first[episode]) + number][:SAME_TASK]

    def success(self, episode: int) -> bool | None:
        """True: shards contain no failures."""
        return True

    def identity(self, episode: int) -> str:
        """Its number: shards are never edited."""
        return f"episode {episode}"

    def _images(self, shard: int) -> dict[str, Array]:
        if self._open is None:
            names = ("front", "wrist")
            self._open = [
                {n: read_array(path / f"{n}.npy", mapped=True) for n in names}
                for path in self._shards
            ]
        return self._open[shard]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": None}


def _read(shard: Path, robot: Embodiment, body: Body) -> tuple[SetNumbers, list[list[str]]]:
    if read_meta(shard / META_FILE).get("what") != "episodes":
        raise ValueError(f"{shard}: has single scenes, expected episodes")
    arrays, texts = read_shard(shard)
    missing = [name for name in NEEDED if name not in arrays]
    arms = len(body.arms)
    widths = {"state": ARM * arms, "action": STEP * arms + 1 + len(body.base)}
    if missing:
        raise ValueError(f"{shard}: lacks {', '.join(missing)}")
    for name, width in widths.items():
        if arrays[name].shape[1:] != (width,):
            raise ValueError(
                f"{shard}: got {name} of shape {list(arrays[name].shape)}, expected {width} columns of {robot.name}"
            )
    episode, count = np.asarray(arrays["episode"]), len(texts)
    first = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1)) if count else episode
    length = np.diff(np.append(first, count))
    action, state = (np.asarray(arrays[n], np.float64) for n in ("action", "state"))
    place = np.arange(count) - np.repeat(first, length)
    numbers = SetNumbers(
        first=first.astype(np.int64),
        length=length.astype(np.int64),
        state=state.astype(np.float32),
        action=targets(action, state, body).astype(np.float32),
        seconds=place / robot.policy_hz,
        valid=np.ones(count, bool),
        source=np.full(count, CONTROL_SOURCES.index("other"), np.int8),
        correction=np.zeros(count, bool),
        finished=action[:, STEP * arms] > 0.5,
    )
    return numbers, texts


def _joined(parts: list[SetNumbers]) -> SetNumbers:
    starts = np.cumsum([0, *(len(part) for part in parts)])
    firsts = [part.first + start for part, start in zip(parts, starts[:-1], strict=True)]
    rest = ("length", "state", "action", "seconds", "valid", "source", "correction", "finished")
    values = {n: np.concatenate([getattr(part, n) for part in parts]) for n in rest}
    return SetNumbers(first=np.concatenate(firsts), **values)
