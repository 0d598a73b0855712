"""Synthetic demonstrations: every number of a frame identifies the frame."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment.load import load_embodiment

ROBOT = load_embodiment("vx300s")
FPS = 10
START_NS = 1_700_000_000_000_000_000
SIZE = (48, 64)


def image(episode: int, number: int, camera: str, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey level that identifies the frame, and a bar that identifies the camera."""
    picture = np.full((*size, 3), 30 + (37 * episode + 11 * number) % 200, np.uint8)
    picture[:, : 16 if camera == "front" else 32] = (220, 40, 30)
    return picture


def frame(episode: int, number: int, *, task: str = "", size: tuple[int, int] = SIZE) -> Frame:
    """Frame number of an episode."""
    rng = np.random.default_rng([episode, number])
    planned = rng.normal(size=8) if number % 5 else np.full(8, np.nan)
    return Frame(
        stamp_ns=START_NS + 10**11 * episode + number * 10**9 // FPS,
        images={c: image(episode, number, c, size) for c in ROBOT.camera_names},
        state=rng.normal(size=8),
        action=rng.normal(size=8),
        proposed=planned,
        control_source=("policy", "teleop")[number % 3 == 2],
        intervention=number % 3 == 2,
        guard_level=number % 4,
        valid=number % 7 != 6,
        task=task,
        ages_s={"front": 0.01 * number, "joint_states": 0.002},
    )


def record(writer: SetWriter, episode: int, length: int, *, task: str = "push", success=None):
    """One episode, saved."""
    writer.begin(task)
    for number in range(length):
        assert writer.add(frame(episode, number), wait=True)
    return writer.save(success)


def recorded_set(root: Path, lengths=(7, 5)) -> Path:
    """A set of episodes of these lengths: a copy of one that was written once."""
    return shutil.copytree(_written_once(tuple(lengths)), root)


@functools.cache
def _written_once(lengths: tuple[int, ...]) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="recorded_set_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return written_set(folder / "set", lengths)


def written_set(root: Path, lengths=(7, 5), **more) -> Path:
    """A set of episodes of these lengths, by a writer of its own."""
    with SetWriter(root, ROBOT, FPS, robot_yaml="name: vx300s\n", **more) as writer:
        for episode, length in enumerate(lengths):
            task = ("push", "lift")[episode % 2]
            record(writer, episode, length, task=task, success=(None, True, False)[episode % 3])
    return root


def require_same(got: Frame, expected: Frame) -> None:
    """All numbers are identical, and the images as close as video allows."""
    for name in ("state", "action", "proposed"):
        assert np.array_equal(getattr(got, name), getattr(expected, name), equal_nan=True), name
    for name in ("stamp_ns", "control_source", "intervention", "guard_level", "valid"):
        assert getattr(got, name) == getattr(expected, name), name
    assert got.ages_s == {k: np.float32(v) for k, v in expected.ages_s.items()}
    assert set(got.images) == set(expected.images)
    for camera, picture in expected.images.items():
        off = np.abs(got.images[camera].astype(int) - picture)
        assert off.mean() < 4, (camera, off.mean())
