"""Rendered scenes (`vla generate scenes`) for the lesson "pointing": image, sentences, ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_policy.data.frames import Frames, load_frames, robot_of
from vla_policy.families.training import Labelled
from vla_policy.types import Array

LABELS = (
    "state", "target_xyz", "reference_xyz", "destination_xyz", "target_colour", "target_shape", "target_size",
    "front_uv", "wrist_uv", "wrist_visible",
)  # fmt: skip


class SceneSource:
    """The scenes below a folder, some or all of them. robot: their robot. Images stay on the disk.

    held_out: share for validation. part: "all", "train" or "held_out".
    Raises FileNotFoundError if there are no scenes, ValueError for several robots or missing labels.
    """

    def __init__(self, root: Path, *, part: str = "all", held_out: float = 0.0) -> None:
        self.label, self.robot_name, self._root = root.name or str(root), robot_of(root), root
        self._frames: Frames | None = None
        frames = self._read()
        if missing := [name for name in LABELS if name not in frames.arrays]:
            raise ValueError(f"{root}: lacks {', '.join(missing)}")
        self._index = part_of(len(frames), part, held_out)

    def __len__(self) -> int:
        return len(self._index)

    def where(self, index: int) -> str:
        """The scene as text."""
        return f"{self.label}, scene {self._index[index]}"

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Labelled:
        """Arrays of the scene by the names that `vla generate` writes, and its sentences."""
        frames, number = self._read(), int(self._index[index])
        front, wrist = frames.images(np.array([number]))
        arrays = {name: frames.arrays[name][number] for name in LABELS}
        arrays |= {"front": front[0], "wrist": wrist[0]}
        return Labelled(arrays, tuple(frames.texts[number]))

    def _read(self) -> Frames:
        if self._frames is None:
            self._frames = load_frames(self._root)
        return self._frames

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_frames": None}


def part_of(count: int, part: str, held_out: float) -> Array:
    """int64: the samples of a part; the held-out ones are the last."""
    end = count - round(count * held_out)
    index = {"all": np.arange(count), "train": np.arange(end), "held_out": np.arange(end, count)}
    return index[part]
