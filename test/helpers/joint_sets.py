"""Demonstrations of an arm of joints (ur5e_2f85) and a small pi0 with its columns."""

import json
from pathlib import Path

import numpy as np
import torch
from demonstrations import image
from pi0_folders import GOLDEN, policy_file

from vla_policy.data.frame import Frame
from vla_policy.data.lerobot.writer import SetWriter
from vla_policy.embodiment import load_embodiment
from vla_policy.formats.load import load_checkpoint
from vla_policy.formats.native.folder import save

ROBOT = load_embodiment("ur5e_2f85")
FPS = 10


def joint_set(root: Path, lengths=(12, 10), *, size=(48, 64)) -> Path:
    """Every joint follows its own sine, one frame behind its command."""
    with SetWriter(root, ROBOT, FPS, robot_yaml="name: ur5e_2f85\n") as writer:
        for episode, length in enumerate(lengths):
            writer.begin(("push the cube", "lift the cube")[episode % 2])
            for number in range(length):
                assert writer.add(frame(episode, number, size), wait=True)
            writer.save(True)
    return root


def frame(episode: int, number: int, size=(48, 64)) -> Frame:
    action = positions(episode, number + 1)
    return Frame(
        stamp_ns=10**12 * (episode + 1) + number * 10**9 // FPS,
        images={c: image(episode, number, c, size) for c in ROBOT.camera_names},
        state=positions(episode, number),
        action=action,
        proposed=action,
        control_source="teleop",
        intervention=False,
        guard_level=0,
        valid=True,
        task="",
    )


def positions(episode: int, number: int) -> np.ndarray:
    """rad, and the gripper's opening."""
    joints = 0.4 * np.sin(0.2 * number + np.arange(6) + episode)
    return np.append(joints, 0.5 + 0.4 * np.cos(0.3 * number))


def small_pi0(folder: Path) -> Path:
    """A folder of this project."""
    scratch = folder.with_name(folder.name + "-file")
    scratch.mkdir(parents=True)
    names = list(ROBOT.state_names)
    path = policy_file(
        scratch, GOLDEN / "ckpt_pi0_tiny", cameras={"base": "side", "wrist": "wrist"}, state=names,
        actions={"names": names, "spaces": {"arm": "joint_position", "hand": "gripper"}},
        embodiments=[ROBOT.name], policy_hz=10,
    )  # fmt: skip
    save(folder, load_checkpoint(path, device="cpu", dtype=torch.float32))
    assert json.loads((folder / "config.json").read_text())["family"] == "pi0"
    return folder
