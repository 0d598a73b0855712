"""A small data set without faults, with one of everything that a set consists of.

A robot moves back and forth between points inside its limits, in front of a textured wall, seen by
two cameras.
"""

from pathlib import Path

import cv2
import numpy as np
from demonstrations import FPS, ROBOT, START_NS

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter

SIZE = (48, 64)
LENGTHS = (20, 24, 22, 26)
TASKS = ("push the block", "lift the cup")
LOW = np.array([0.15, -0.3, 0.05, -0.6, -0.6, -0.6, 0.1, 0.05])
HIGH = np.array([0.55, 0.3, 0.4, 0.6, 0.6, 0.6, 0.9, 0.95])


def pose(episode: int, at: float) -> np.ndarray:
    """float64[8]: the robot at a time in frames; every column has its own phase and period."""
    rng = np.random.default_rng(episode)
    phase = rng.uniform(0, 2 * np.pi, 8)
    speed = np.array([0.11, 0.13, 0.12, 0.1, 0.09, 0.12, 0.08, 0.14])
    return LOW + (HIGH - LOW) * (0.5 + 0.5 * np.sin(phase + speed * at))


def image(
    episode: int, number: int, camera: str, size: tuple[int, int] = SIZE, still: int | None = None
) -> np.ndarray:
    """A camera image: a textured wall, changing light, and a robot that moves with its pose."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    light = 10 * (episode % 3)
    if camera == "front":
        wall = np.stack([60 + 1.5 * rows, 50 + columns, np.full(size, 80)], -1)
    else:
        stripes = 40 * ((rows // 8) % 2)
        wall = np.stack([np.full(size, 150), 90 + stripes, 160 - rows], -1)
    state = pose(episode, number if still is None else still)
    share = (state - LOW) / (HIGH - LOW)
    picture = np.clip(wall * height / height + light, 0, 255).astype(np.uint8)
    x, y = int(share[0] * (width - 20)) + 10, int(share[2] * (height - 16)) + 8
    cv2.circle(picture, (x, y), 9, (230, 60, 30), -1)
    cv2.line(picture, (width // 2, height), (x, y), (240, 240, 240), 3)
    cv2.circle(picture, (int(share[1] * (width - 12)) + 6, 6), 4, (20, 20, 200), -1)
    return picture


def frame(episode: int, number: int, **changes) -> Frame:
    """Frame number of an episode."""
    size = changes.pop("size", SIZE)
    action = pose(episode, number + 1).astype(np.float32)
    values = {
        "stamp_ns": START_NS + 10**11 * episode + number * 10**9 // FPS,
        "images": {c: image(episode, number, c, size) for c in ROBOT.camera_names},
        "state": pose(episode, number).astype(np.float32),
        "action": action,
        "proposed": action,
        "control_source": "policy",
        "intervention": False,
        "guard_level": 0,
        "valid": True,
        "task": "",
        "ages_s": {"front": 0.01, "wrist": 0.02, "joints": 0.001},
    }
    return Frame(**values | changes)


def clean_set(
    root: Path, lengths=LENGTHS, *, tasks=TASKS, change=lambda episode, number: {}, **more
) -> Path:
    """A set; change(episode, number) returns the fields of a frame to replace."""
    with SetWriter(root, ROBOT, FPS, **more) as writer:
        for episode, length in enumerate(lengths):
            writer.begin(tasks[episode % 2])
            for number in range(length):
                made = frame(episode, number, **change(episode, number))
                assert writer.add(made, wait=True), writer.problem
            writer.save(True)
    return root
