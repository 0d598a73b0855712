"""A policy learns for a robot that it was not made for: cameras, columns and statistics are those of the data."""

import json

import numpy as np
import pytest
import toy_training
import yaml
from joint_sets import ROBOT, frame, joint_set

from vla_policy.cli import main
from vla_policy.policy import load_policy
from vla_policy.train.new_robot import cameras_of
from vla_policy.types import Observation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new-robot")
    toy_training.start(folder)
    joint_set(folder / "set", (9, 8, 9, 8))
    content = {
        "policy": "start", "data": ["set"], "out": str(folder / "run"), "steps": 16, "batch": 4, "workers": 0,
        "optimiser": {"learning_rate": 5e-3}, "schedule": {"warmup": 2}, "device": "cpu", "threads": 1,
        "augment": {"rotate_deg": 2}, "held_out": {"share": 0.5, "batches": 1}, "log_every": 4,
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    assert main(["train", str(folder / "run.yaml")]) == 0
    return folder


@pytest.mark.slow
def test_the_loss_falls_and_the_folder_acts(folder):
    lines = [json.loads(x) for x in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    policy = load_policy(str(folder / "run" / "checkpoint"))
    assert load_policy(str(folder / "start")).check(ROBOT) != ()
    assert policy.check(ROBOT) == ()
    seen = frame(0, 5)
    observation = Observation(
        images=seen.images, state=np.array(seen.state), state_names=ROBOT.state_names,
        instruction="push the cube", obs_ns=5,
    )  # fmt: skip
    chunk = policy.infer(observation)
    assert chunk.names == ROBOT.action_names
    # Within the range of the data: a joint's sine of 0.4, a gripper from 0.1 to 0.9.
    assert np.abs(chunk.actions[:, :6]).max() < 1.0


@pytest.mark.slow
def test_check_and_convert_take_the_folder(folder):
    checkpoint = str(folder / "run" / "checkpoint")
    assert main(["check", "checkpoint", checkpoint, "--robot", "ur5e_2f85"]) == 0
    assert main(["convert", checkpoint, str(folder / "lerobot"), "--to", "lerobot"]) == 0
    assert main(["convert", checkpoint, str(folder / "openpi"), "--to", "openpi"]) == 0


@pytest.mark.slow
def test_statistics_of_another_robot_are_refused(folder, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    content = yaml.safe_load((folder / "run.yaml").read_text())
    content |= {
        "statistics": "policy",
        "out": str(tmp_path / "run"),
        "policy": str(folder / "start"),
    }
    path.write_text(yaml.safe_dump(content | {"data": [str(folder / "set")]}))
    assert main(["train", str(path)]) == 1
    assert "statistics: got 'policy', whose numbers are of golden" in capsys.readouterr().err


def test_a_tiny_is_for_its_own_robot(tmp_path, capsys):
    words = ["--policy", "tiny", "--data", joint_set(tmp_path / "set"), "--out", tmp_path / "run"]
    assert main(["train", *(str(w) for w in words)]) == 1
    assert "its tower is built for that arm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("there", "said", "expected"),
    [
        (("side", "wrist"), {}, {"base": "side", "left_wrist": "wrist"}),
        (("wrist", "side"), {}, {"base": "side", "left_wrist": "wrist"}),
        (("front", "side"), {}, {"base": "front", "left_wrist": "side"}),
        (("wrist",), {}, {"left_wrist": "wrist"}),
        (("front", "side", "wrist"), {"base": "side"}, {"base": "side", "left_wrist": "wrist", "right_wrist": "front"}),
    ],
)  # fmt: skip
def test_cameras_go_where_they_belong(there, said, expected):
    assert cameras_of(("base", "left_wrist", "right_wrist"), there, said) == expected


def test_a_camera_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match="cameras: got base: top, expected one of base: one of side"
    ):
        cameras_of(("base",), ("side",), {"base": "top"})
