"""Sets for training with predictable numbers: an arm that moves along x, frame by frame."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from demonstrations import image

from vla_policy.checkpoint.contract import Contract
from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import Embodiment, load_embodiment
from vla_policy.train.mixture import Entry, Mixture
from vla_policy.train.set_options import SetOptions
from vla_policy.train.training_set import open_training_set

FPS = 10
STEP_M = 0.01
ROBOT = load_embodiment("vx300s")


def contract_for(robot: Embodiment = ROBOT, **changed) -> Contract:
    """The contract of a policy for robot."""
    contract = Contract(
        camera_names=robot.camera_names,
        image_px=32,
        state_names=robot.state_names,
        action_names=robot.action_names,
        model_action_names=robot.action_names,
        spaces=tuple((g.name, g.space) for g in robot.actions),
        policy_hz=float(robot.policy_hz),
        embodiments=(robot.name,),
    )
    return replace(contract, **changed)


def x_of(episode: int, number: int) -> float:
    """Position of the arm at a frame, m."""
    return 0.2 + 0.05 * episode + STEP_M * number


def pose(x: float, turn: float = 0.0) -> list[float]:
    """A tool pose rotated about z."""
    return [x, 0.0, 0.2, 0.0, 0.0, np.sin(turn / 2), np.cos(turn / 2)]


def frame(episode: int, number: int, **changed) -> Frame:
    """A frame with the arm's next position as command; the gripper closes at frame 3."""
    values = {
        "stamp_ns": 10**12 * (episode + 1) + number * 10**9 // FPS,
        "images": {c: image(episode, number, c) for c in ROBOT.camera_names},
        "state": [*pose(x_of(episode, number), 0.1 * number), 1.0 if number < 4 else 0.0],
        "action": [
            *pose(x_of(episode, number + 1), 0.1 * (number + 1)),
            1.0 if number < 3 else 0.0,
        ],
        "control_source": "teleop",
        "intervention": False,
        "guard_level": 0,
        "valid": True,
        "task": "",
    } | changed
    values = {"proposed": values["action"]} | values
    return Frame(**values)


def arm_set(
    root: Path, lengths=(8, 6), *, changed=None, success=True, tasks=("push", "lift")
) -> Path:
    """A set of these lengths. changed: (episode, number) -> fields of the frame that differ."""
    with SetWriter(root, ROBOT, FPS, robot_yaml="name: vx300s\n") as writer:
        for episode, length in enumerate(lengths):
            writer.begin(tasks[episode % len(tasks)])
            for number in range(length):
                fields = (changed or {}).get((episode, number), {})
                assert writer.add(frame(episode, number, **fields), wait=True)
            said = success[episode] if isinstance(success, (list, tuple)) else success
            writer.save(said)
    return root


def example(sample):
    """The sum of an image, and the arm's target; refuses one frame.

    A worker's message names it.
    """
    if "frame 3" in sample.where and "lift" in sample.value.observation.instruction:
        raise ValueError("gripper: got 7, expected 0 to 1")
    front = sample.value.observation.images["front"]
    return {
        "sum": torch.tensor(int(front.sum())),
        "actions": torch.from_numpy(np.array(sample.value.actions)),
        "threads": torch.tensor(torch.get_num_threads()),
        "process": torch.tensor(os.getpid()),
    }


def collate(examples):
    return {k: torch.stack([e[k] for e in examples]) for k in examples[0]}


def made_for(root, episodes=(0,), seed=5) -> Mixture:
    """A mixture of some episodes of one set."""
    data = open_training_set(root, contract_for(), rows=3, options=SetOptions(episodes=episodes))
    return Mixture([Entry(data)], seed=seed)
