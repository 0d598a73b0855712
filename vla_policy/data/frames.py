"""Rendered frames with their relabelled sentences, as written by `vla generate`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_policy.data.shards import (
    META_FILE,
    array_file,
    read_array,
    read_meta,
    read_shard,
    shards_below,
)
from vla_policy.types import Array

IMAGES = ("front", "wrist")  # arrays that stay on disk
PER_SENTENCE = (
    "target_xyz", "reference_xyz", "destination_xyz", "target_colour", "target_shape", "target_size",
    "front_uv", "wrist_uv", "wrist_visible",
)  # fmt: skip
# Columns of a recorded action, and their order in a model's prediction (RT-2: terminate first).
RECORDED_TO_MODEL = [7, 0, 1, 2, 3, 4, 5, 6]


@dataclass(frozen=True, slots=True)
class Frames:
    """Arrays over n frames; images stay on disk.

    shards: memory-mapped (front, wrist), uint8[m, h, w, 3] each. starts: first frame of each shard.
    arrays: every other array, by file name, first axis n. texts: n lists of sentences.
    """

    shards: tuple[tuple[Array, Array], ...]
    starts: Array
    arrays: dict[str, Array]
    texts: list[list[str]]

    def __len__(self) -> int:
        return len(self.texts)

    def head(self, count: int) -> "Frames":
        """The first count frames."""
        return Frames(
            self.shards,
            self.starts,
            {k: v[:count] for k, v in self.arrays.items()},
            self.texts[:count],
        )

    def episodes(self, count: int) -> "Frames":
        """The frames of the first count episodes."""
        started = np.flatnonzero(np.diff(self.arrays["episode"], prepend=-1))
        return self if len(started) <= count else self.head(int(started[count]))

    def sentences(self, count: int) -> "Frames":
        """The same frames with their first count sentences."""
        kept = {k: v[:, :count] if k in PER_SENTENCE else v for k, v in self.arrays.items()}
        return Frames(self.shards, self.starts, kept, [row[:count] for row in self.texts])

    def arm(self, number: int) -> "Frames":
        """The frames of one arm, as of a robot with one arm: wrist, state, action, labels."""
        arrays, own = dict(self.arrays), slice(7 * number, 7 * number + 7)
        arms = arrays["state"].shape[1] // 8
        arrays["state"] = arrays["state"][:, 8 * number : 8 * number + 8]
        if "action" in arrays:
            action = arrays["action"]
            arrays["action"] = np.concatenate(
                (action[:, own], action[:, 7 * arms : 7 * arms + 1]), 1
            )
        if arms == 1:
            return Frames(self.shards, self.starts, arrays, self.texts)
        arrays |= {k: arrays[k][:, :, number] for k in ("wrist_uv", "wrist_visible")}
        shards = tuple((front, wrist[:, number]) for front, wrist in self.shards)
        return Frames(shards, self.starts, arrays, self.texts)

    def images(self, index: Array) -> tuple[Array, Array]:
        """Front and wrist images of the frames in index, uint8[k, h, w, 3]."""
        shard_of = np.searchsorted(self.starts, index, side="right") - 1
        pairs = [
            (self.shards[s][0][i - self.starts[s]], self.shards[s][1][i - self.starts[s]])
            for s, i in zip(shard_of, index, strict=True)
        ]
        return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def load_frames(root: Path) -> Frames:
    """All shards below root. Raises FileNotFoundError if there is none."""
    folders = shards_below(root, array_file(IMAGES[0]))
    if not folders:
        raise FileNotFoundError(f"no frames below {root}; make them with `vla generate`")
    shards: list[tuple[np.ndarray, np.ndarray]] = []
    arrays: dict[str, list[np.ndarray]] = {}
    texts: list[list[str]] = []
    starts: list[int] = []
    for number, folder in enumerate(folders):
        starts.append(len(texts))
        rows, said = read_shard(folder)
        texts += said
        front, wrist = (_images(folder / array_file(name), len(said)) for name in IMAGES)
        shards.append((front, wrist))
        for name, values in rows.items():
            if name not in IMAGES:
                if name == "episode":  # each shard counts from 0
                    values = values.astype(np.int64) + number * 1_000_000
                arrays.setdefault(name, []).append(values)
    joined = {k: _joined(root, k, v) for k, v in arrays.items()}
    for name, values in joined.items():
        if len(values) != len(texts):
            raise ValueError(f"{root}: {name} has {len(values)} frames, expected {len(texts)}")
    return Frames(tuple(shards), np.array(starts), joined, texts)


def _joined(root: Path, name: str, parts: list[Array]) -> Array:
    if len({(p.dtype.kind, p.shape[1:]) for p in parts}) != 1 or not all(p.ndim for p in parts):
        shapes = ", ".join(sorted({f"{p.dtype}{list(p.shape)}" for p in parts}))
        raise ValueError(f"{root}: {name}: got {shapes}, expected rows of one kind in every shard")
    return np.concatenate(parts)


def _images(path: Path, count: int) -> Array:
    images = read_array(path, mapped=True)
    shape = images.shape  # with an axis for the arms if there are two
    if images.dtype != np.uint8 or len(shape) not in (4, 5) or (shape[0], shape[-1]) != (count, 3):
        raise ValueError(
            f"{path}: got {images.dtype}{list(shape)}, expected uint8[{count}, ..., h, w, 3]"
        )
    return images


def robot_of(root: Path) -> str:
    """The robot of the frames below root, by their shards.

    Raises ValueError for several robots.
    """
    said = {
        str(read_meta(shard / META_FILE).get("robot", "vx300s"))
        for shard in shards_below(root, META_FILE)
    }
    if len(said) != 1:
        raise ValueError(
            f"{root}: frames of {', '.join(sorted(said)) or 'no robot'}, expected one robot"
        )
    return said.pop()


def base_chunks(frames: Frames, rows: int) -> Array:
    """float32[n, rows, k]: the base's speeds from each frame on, 0 after the end."""
    arms = frames.arrays["state"].shape[1] // 8
    index, over = _rows_ahead(frames.arrays["episode"], rows)
    speeds: Array = frames.arrays["action"][:, 7 * arms + 1 :].astype(np.float32)[index]
    speeds[over] = 0.0
    return speeds


def action_chunks(frames: Frames, rows: int) -> Array:
    """float32[n, rows, 8] in the model's column order: the expert's actions from each frame on.

    Row 0 is the step from the measured position to the expert's first target, every other row from
    target to target, so that the rows sum to the expert's motion, without the recording's noise.
    After the end of an episode the tool stands still, the gripper stays and terminate is 1.
    """
    recorded = frames.arrays["action"].astype(np.float64)
    position = frames.arrays["state"][:, :3].astype(np.float64)
    index, over = _rows_ahead(frames.arrays["episode"], rows)
    target = (position + recorded[:, :3])[index]  # (n, rows, 3)
    chunks: Array = recorded[:, RECORDED_TO_MODEL][index]
    chunks[..., 1:4] = np.diff(target, axis=1, prepend=position[:, None])
    chunks[..., 1:7][over] = 0.0
    chunks[..., 0][over] = 1.0
    return chunks.astype(np.float32)


def _rows_ahead(episode: Array, rows: int) -> tuple[Array, Array]:
    """int[n, rows]: frames from each one on, in its episode; bool[n, rows]: after its end."""
    if (np.diff(episode) < 0).any():
        raise ValueError("frames of one episode must stand together, in order")
    here = np.arange(len(episode))
    last = np.searchsorted(episode, episode, side="right") - 1
    ahead = here[:, None] + np.arange(rows)
    return np.minimum(ahead, last[:, None]), ahead > last[:, None]
