"""A small folder of every supported kind, as its project writes one, for the columns of a robot.

Used by test_road.py and, with the programs themselves, by benchmarks/road.py.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pi0_folders import GOLDEN, as_older_lerobot, as_openpi, characters
from safetensors.torch import save_file
from test_openvla_folder import tensors as openvla_tensors
from test_openvla_folder import write_folder as write_openvla
from test_rt2 import write_paligemma
from test_smolvla_folder import byte_tokens, write_smolvla

from vla_policy.embodiment import Embodiment

STATE, ACTION = "observation.state", "action"
CAMERA = "observation.images."
REACH = 0.2  # range of a joint's relative columns, in rad or m; also of speeds
TURN = 0.02  # range of a quaternion's components, and of steps


def ranges(robot: Embodiment, names: tuple[str, ...]) -> np.ndarray:
    """(2, columns) low and high of data that this robot could have recorded, near mid-range."""
    joints = {
        f"joint.{name}": (low, high)
        for name, low, high in zip(
            robot.joints.names, robot.joints.lower, robot.joints.upper, strict=True
        )
    }
    boxes = {}
    for group in robot.actions:
        if (box := robot.limits.groups[group.name].workspace) is not None:
            tool = group.names[0].removesuffix("x").removesuffix("v")
            boxes |= {
                f"{tool}{axis}": (box.lower[i], box.upper[i]) for i, axis in enumerate("xyz")
            }
    joints |= boxes
    # Close to the identity, so that the output of random weights is still a rotation.
    turns = {"qx": (-TURN, TURN), "qy": (-TURN, TURN), "qz": (-TURN, TURN), "qw": (1 - TURN, 1.0)}
    joints |= {name: turns[part] for name in names if (part := name.rpartition(".")[2]) in turns}
    ends = []
    for name in names:
        low, high = joints.get(name, (0.0, 1.0) if name.endswith("gripper") else (-REACH, REACH))
        low, high = max(low, -3.0), min(high, 3.0)
        middle, half = (low + high) / 2, (high - low) / 4
        ends.append((middle - half, middle + half))
    return np.array(ends).T


def statistics(robot: Embodiment, *, relative: bool) -> dict[str, torch.Tensor]:
    """The statistics that lerobot saves: mean, std and quantiles of state and action."""
    found = {}
    for feature, names in ((STATE, robot.state_names), (ACTION, robot.action_names)):
        low, high = ranges(robot, names)
        small = robot.actions[0].space in ("joint_delta", "ee_delta") or relative
        if feature == ACTION and small:
            for i, name in enumerate(names):
                if not name.endswith("gripper"):
                    reach = REACH if relative and name.startswith("joint.") else TURN
                    low[i], high[i] = -reach, reach
        values = {
            "q01": low, "q99": high, "min": low, "max": high, "mean": (low + high) / 2,
            "std": (high - low) / 4,
        }  # fmt: skip
        found |= {f"{feature}.{key}": torch.from_numpy(v).float() for key, v in values.items()}
    return found


def fitted(folder: Path, robot: Embodiment, *, relative: bool = False) -> Path:
    """A lerobot folder with this robot's cameras, widths and ranges, not the original ones."""
    widths = {STATE: len(robot.state_names), ACTION: len(robot.action_names)}
    path = folder / "config.json"
    config = json.loads(path.read_text())
    pixels = next(v for k, v in config["input_features"].items() if k.startswith("observation.im"))
    config["input_features"] = {f"{CAMERA}{name}": pixels for name in robot.camera_names} | {
        STATE: {"type": "STATE", "shape": [widths[STATE]]}
    }
    config["output_features"] = {ACTION: {"type": "ACTION", "shape": [widths[ACTION]]}}
    path.write_text(json.dumps(config))
    for path in folder.glob("policy_*.json"):
        steps = json.loads(path.read_text())
        for step in steps["steps"]:
            if step.get("config", {}).get("action_names"):
                names = [n.removeprefix("joint.") + ".pos" for n in robot.action_names]
                step["config"]["action_names"] = names
        path.write_text(json.dumps(steps))
    for path in folder.glob("policy_*.safetensors"):
        save_file(statistics(robot, relative=relative), path)
    (folder / "expected.safetensors").unlink(missing_ok=True)
    return folder


def _pi0(golden: str) -> Callable[[Path, Embodiment], Path]:
    def write(folder: Path, robot: Embodiment) -> Path:
        shutil.copytree(GOLDEN / golden, folder)
        (folder / "tokenizer").mkdir()
        characters(folder / "tokenizer" / "tokenizer.json")
        return fitted(folder, robot, relative="relative" in golden)

    return write


def _older(folder: Path, robot: Embodiment) -> Path:
    return as_older_lerobot(_pi0("ckpt_pi0_tiny")(folder, robot))


def _openpi(folder: Path, robot: Embodiment) -> Path:
    source = _pi0("ckpt_pi0_tiny")(folder.with_name(folder.name + "_source"), robot)
    as_openpi(source, folder)
    characters(folder / "tokenizer.json")
    shutil.rmtree(source)
    return folder


def _smolvla(folder: Path, robot: Embodiment) -> Path:
    write_smolvla(folder)
    (folder / "tokenizer").mkdir()
    byte_tokens(folder / "tokenizer" / "tokenizer.json")
    return fitted(folder, robot)


def _openvla(folder: Path, robot: Embodiment) -> Path:
    write_openvla(folder, openvla_tensors())
    return folder


def _paligemma(folder: Path, robot: Embodiment) -> Path:
    folder.mkdir()
    write_paligemma(folder)
    return folder


# Kind -> (writes the folder, its attention heads, which no tensor shows)
FOLDERS: dict[str, tuple[Callable[[Path, Embodiment], Path], tuple[int, int, int] | None]] = {
    "pi0": (_pi0("ckpt061_pi0"), (8, 1, 4)),
    "pi05_relative": (_pi0("ckpt061_pi05_relative"), (8, 1, 4)),
    "pi0_lerobot_0.4": (_pi0("ckpt_pi0_tiny"), (8, 1, 4)),
    "pi0_lerobot_0.3": (_older, (8, 1, 4)),
    "pi0_openpi": (_openpi, (8, 1, 4)),
    "smolvla": (_smolvla, (4, 2, 4)),
    "openvla": (_openvla, (4, 4, 2)),
    "paligemma": (_paligemma, None),
}
