"""`vla check checkpoint` on a folder of every kind that other projects write: no traceback, and what it must find."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pi0_folders import GOLDEN, as_older_lerobot, copied
from safetensors.torch import load_file, save_file
from test_smolvla_folder import folder as smolvla_folder  # noqa: F401

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.check.checkpoint_summary import describe
from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.findings import errors

ROBOT_FILE = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
ROBOT = load_embodiment(ROBOT_FILE)
STATE = list(ROBOT.state_names)
LEROBOT = ("ckpt_pi0_tiny", "ckpt_pi05_tiny", "ckpt061_pi0", "ckpt061_pi05_relative")


def policy(path: Path, checkpoint: Path, **changes: object) -> str:
    content = {
        "checkpoint": str(checkpoint), "cameras": {"base": "front", "wrist": "wrist"}, "state": STATE,
        "actions": {"names": STATE, "spaces": {"arm": "joint_position", "hand": "gripper"}},
        "policy_hz": 10, "embodiments": [ROBOT.name], "heads": {"language": 8, "kv": 1, "vision": 4},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("name", LEROBOT)
def test_lerobot_folders_are_checked(name: str, tmp_path: Path) -> None:
    path = policy(tmp_path / "policy.yaml", GOLDEN / name)
    described = describe(Path(path))
    assert described.state.names == described.actions.names == tuple(STATE)
    on = name.endswith("relative")
    assert described.actions.relative == frozenset(STATE[:6] if on else ())
    for finding in check_checkpoint(path, str(ROBOT_FILE)):
        assert "statistics" in str(finding) or "training" in str(finding), finding


def test_a_robot_in_the_units_of_the_data_fits(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi05")
    low, high = 0.8 * ROBOT.joints.lower, 0.8 * ROBOT.joints.upper
    for path in folder.glob("policy_*.safetensors"):
        stats = load_file(path)
        for name in ("observation.state", "action"):
            stats[f"{name}.q01"] = torch.tensor(np.array([*low, 0.0])).float()
            stats[f"{name}.q99"] = torch.tensor(np.array([*high, 1.0])).float()
        save_file(stats, path)
    path = policy(tmp_path / "policy.yaml", folder)
    assert errors(check_checkpoint(path, str(ROBOT_FILE))) == ()


def test_folders_with_statistics_among_the_weights_are_checked(tmp_path: Path) -> None:
    folder = as_older_lerobot(copied(tmp_path, "pi0"))
    described = describe(Path(policy(tmp_path / "policy.yaml", folder)))
    assert described.state.names == tuple(STATE)


def test_smolvla_folders_are_checked(smolvla_folder: Path, tmp_path: Path) -> None:  # noqa: F811
    config = json.loads((smolvla_folder / "config.json").read_text())
    width = config["input_features"]["observation.state"]["shape"][0]
    names = STATE[:width]
    slots = [k.removeprefix("observation.") for k in config["input_features"] if "image" in k]
    path = policy(
        tmp_path / "policy.yaml", smolvla_folder, state=names, heads={"language": 4, "kv": 2, "vision": 4},
        cameras=dict(zip(slots, ROBOT.camera_names, strict=False)),
        actions={"names": names, "spaces": {"arm": "joint_position"}},
    )  # fmt: skip
    described = describe(Path(path))
    assert described.state.names == tuple(names)


def test_what_cannot_be_read_is_a_finding_and_not_a_traceback(tmp_path: Path) -> None:
    path = policy(tmp_path / "policy.yaml", GOLDEN / "ckpt061_pi0", state=STATE[:6])
    [found] = check_checkpoint(path, str(ROBOT_FILE))
    assert found.level == "error" and "got 6 columns" in found.says
