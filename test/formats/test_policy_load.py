"""Checkpoints and devices that cannot drive the robot: one sentence each, before anything moves."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from vla_policy.embodiment import load_embodiment
from vla_policy.paths import config_dir, weights_dir
from vla_policy.ros.nodes import policy_startup
from vla_policy.runtime.observation import blank_observation

POLICY = os.environ.get("VLA_TEST_POLICY", "tiny")


@pytest.fixture(scope="module")
def robot():
    return load_embodiment("vx300s")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the checkpoint, to be spoilt."""
    shipped = weights_dir() / POLICY
    shutil.copytree(shipped if shipped.is_dir() else POLICY, tmp_path / "copy")
    return tmp_path / "copy"


def refusal(robot, name, head="flow", device="cpu") -> str:
    with pytest.raises(policy_startup.REFUSALS) as caught:
        policy_startup.load(robot, str(name), head, device, 1)
    return str(caught.value)


@pytest.mark.parametrize("head", ["flow", "token"])
def test_both_heads_load_and_have_run_once(robot, head):
    policy = policy_startup.load(robot, POLICY, head, "cpu", 1)
    chunk = policy.infer(blank_observation(policy.contract), seed=1)
    assert chunk.names == robot.action_names


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["vx300s", "vx300s_pair", "vx300s_mobile"])
def test_one_checkpoint_runs_once_for_each_of_its_robots(name):
    one = load_embodiment(name)
    policy = policy_startup.load(one, "tiny_cross", "flow", "cpu", 1)
    chunk = policy.infer(blank_observation(policy.contract), seed=1)
    assert chunk.names == one.action_names


def test_an_unknown_checkpoint_names_those_there_are(robot):
    message = refusal(robot, "no_such_policy")
    assert "no_such_policy" in message and "shipped are only" in message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "statistics.json"])
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_checkpoint_is_a_sentence(robot, folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    assert "copy" in refusal(robot, folder)


def test_a_checkpoint_for_another_robot_names_every_difference(robot, folder):
    config = json.loads((folder / "config.json").read_text())
    config["contract"] |= {"policy_hz": 30.0, "embodiments": ["another_arm"]}
    (folder / "config.json").write_text(json.dumps(config))
    message = refusal(robot, folder)
    assert "does not fit robot 'vx300s'" in message
    assert "rows come at 30 Hz in the checkpoint" in message and "another_arm" in message


def test_a_robot_without_the_wrist_camera_is_refused(tmp_path):
    text = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.strip().startswith("wrist: {")]
    path = tmp_path / "vx300s.yaml"
    path.write_text("\n".join(lines))
    message = refusal(load_embodiment(path), POLICY)
    assert "camera 'wrist': vx300s has none of that name" in message


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_a_sentence(robot, device):
    assert "device: got" in refusal(robot, POLICY, device=device)


def test_a_head_that_does_not_exist_is_a_sentence(robot):
    assert "expected one of flow, token" in refusal(robot, POLICY, head="dream")
