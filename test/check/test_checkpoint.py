"""Whether a checkpoint fits a robot: every difference has a place, and ranges betray another unit or robot."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from vla_policy.check.checkpoint import check_checkpoint, fit
from vla_policy.check.checkpoint_summary import describe
from vla_policy.checkpoint import contract as contracts
from vla_policy.embodiment import embodiment_names, load_embodiment
from vla_policy.embodiment.embodiment_file import read_embodiment_file
from vla_policy.embodiment.findings import ERROR, WARNING
from vla_policy.paths import find_policy

JOINT_ROBOT = Path(__file__).parents[1] / "golden" / "joint_robot.yaml"
ROBOT = load_embodiment(JOINT_ROBOT)
STATE = list(ROBOT.state_names)
LOW = [*(0.8 * ROBOT.joints.lower), 0.0]
HIGH = [*(0.8 * ROBOT.joints.upper), 1.0]


def policy(
    folder: Path, *, state_range=(LOW, HIGH), action_range=(LOW, HIGH), **changes: object
) -> Path:
    """A policy file over an openpi folder with these statistics; a change to None leaves the key out."""
    stats = {
        name: {"mean": [0.0] * 7, "std": [1.0] * 7, "q01": list(map(float, low)), "q99": list(map(float, high))}
        for name, (low, high) in (("state", state_range), ("actions", action_range))
    }  # fmt: skip
    assets = folder / "checkpoint" / "assets" / "arm"
    assets.mkdir(parents=True)
    (assets / "norm_stats.json").write_text(json.dumps({"norm_stats": stats}))
    (folder / "checkpoint" / "config.json").write_text('{"action_horizon": 50}')
    content = {
        "checkpoint": "checkpoint", "cameras": {"base_0_rgb": "front", "left_wrist_0_rgb": "wrist"},
        "state": STATE,
        "actions": {"names": STATE, "spaces": {"arm": "joint_position", "hand": "gripper"}},
        "policy_hz": 10, "embodiments": ["vx300s_joints"],
    }  # fmt: skip
    content |= changes
    file = folder / "policy.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def scaled(factor: float, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.array(LOW), np.array(HIGH)
    low[columns], high[columns] = factor * low[columns], factor * high[columns]
    return low, high


def test_the_shipped_policy_fits_its_robot():
    assert check_checkpoint("tiny") == ()


def test_a_policy_file_that_fits(tmp_path):
    assert check_checkpoint(str(policy(tmp_path)), str(JOINT_ROBOT)) == ()


@pytest.mark.parametrize("name", embodiment_names())
def test_there_is_an_error_exactly_where_the_policy_node_would_refuse(name):
    sheet = read_embodiment_file(name)
    described = describe(find_policy("tiny"))
    refused = bool(contracts.check(described.contract, sheet.robot))
    assert any(f.level == ERROR for f in fit(described, sheet)) == refused


CHANGES = {
    "camera": ({"cameras": {"base_0_rgb": "frnot", "left_wrist_0_rgb": "wrist"}}, ("'frnot'", "Did you mean 'front'"), "base_0_rgb"),
    "state": ({"state": STATE[:-1]}, ("6 columns, vx300s_joints has 7", "lacks gripper"), "state:"),
    "order": ({"state": [STATE[1], STATE[0], *STATE[2:]]}, ("another order", "column 0 is joint.shoulder"), "state:"),
    "space": ({"actions": {"names": STATE, "spaces": {"arm": "joint_delta", "hand": "gripper"}}}, ("joint_delta", "joint_position"), "arm:"),
    "groups": ({"actions": {"names": STATE, "spaces": {"hand": "gripper", "arm": "joint_position"}}}, ("action groups",), "spaces:"),
    "rate": ({"policy_hz": 50}, ("50 Hz in the checkpoint", "at 10 Hz"), "policy_hz"),
    "robot": ({"embodiments": ["so101"]}, ("so101, not for 'vx300s_joints'",), "embodiments"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_each_difference_has_its_line(change, tmp_path):
    changes, words, line = CHANGES[change]
    found = check_checkpoint(str(policy(tmp_path, **changes)), str(JOINT_ROBOT))
    (finding,) = [f for f in found if all(w in f"{f.says} {f.change}" for w in words)]
    assert finding.level == ERROR
    file, _, number = finding.where.rpartition(":")
    assert line in Path(file).read_text().splitlines()[int(number) - 1]
    assert str(JOINT_ROBOT) in str(finding)  # what could be changed instead


def test_a_camera_that_the_checkpoint_does_not_look_through_is_no_mistake(tmp_path):
    file = policy(tmp_path, cameras={"left_wrist_0_rgb": "wrist"})
    assert check_checkpoint(str(file), str(JOINT_ROBOT)) == ()


@pytest.mark.parametrize(
    ("statistics", "level", "words"),
    [
        ({"action_range": scaled(180 / np.pi, slice(0, 6))}, ERROR, ("joint.waist", "degrees?", "unit: deg")),
        ({"state_range": scaled(180 / np.pi, slice(0, 6))}, ERROR, ("joint.shoulder", "degrees?")),
        ({"action_range": scaled(100.0, slice(6, 7))}, ERROR, ("gripper", "percent")),
        ({"state_range": scaled(0.05, slice(6, 7))}, WARNING, ("gripper", "metres?")),
        ({"action_range": (np.array(LOW) + 5.0, np.array(HIGH) + 5.0)}, ERROR, ("apart", "another robot")),
        ({"action_range": scaled(1.5, slice(0, 1))}, WARNING, ("joint.waist", "partly outside")),
    ],
)  # fmt: skip
def test_ranges_of_another_unit_or_robot(statistics, level, words, tmp_path):
    found = check_checkpoint(str(policy(tmp_path, **statistics)), str(JOINT_ROBOT))
    assert any(f.level == level and all(w in str(f) for w in words) for f in found), found


def test_degrees_are_right_where_the_robot_says_so(tmp_path):
    text = JOINT_ROBOT.read_text().replace("joint_position\n    unit: rad", "joint_position\n    unit: deg")  # fmt: skip
    robot = tmp_path / "robot.yaml"
    robot.write_text(text)
    degrees = scaled(180 / np.pi, slice(0, 6))
    assert check_checkpoint(str(policy(tmp_path, action_range=degrees)), str(robot)) == ()


def test_steps_beyond_the_speed_limit(tmp_path):
    text = JOINT_ROBOT.read_text().replace("joint_position\n    unit: rad\n    reference: absolute", "joint_delta\n    unit: rad\n    reference: commanded")  # fmt: skip
    robot = tmp_path / "robot.yaml"
    robot.write_text(text)
    spaces = {"names": STATE, "spaces": {"arm": "joint_delta", "hand": "gripper"}}
    (finding,) = check_checkpoint(str(_steps(tmp_path, spaces)), str(robot))
    assert finding.level == WARNING and "joint.elbow" in finding.says


def _steps(folder: Path, spaces: dict) -> Path:
    """Steps of 0.05 rad, and of 2 rad for the elbow."""
    file = policy(folder)
    path = folder / "checkpoint" / "assets" / "arm" / "norm_stats.json"
    stats = json.loads(path.read_text())
    steps = np.array([0.05, 0.05, 2.0, 0.05, 0.05, 0.05])
    stats["norm_stats"]["actions"] |= {"q01": [*-steps, 0.0], "q99": [*steps, 1.0]}
    path.write_text(json.dumps(stats))
    content = yaml.safe_load(file.read_text()) | {"actions": spaces}
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def test_a_rate_that_is_nearly_right_is_an_error(tmp_path):
    described = describe(policy(tmp_path))
    sheet = read_embodiment_file(JOINT_ROBOT)
    assert list(fit(described, sheet)) == []
    slower = replace(described, contract=replace(described.contract, policy_hz=10.5))
    assert [f.level for f in fit(slower, sheet)] == [ERROR]


def test_what_cannot_be_read_is_one_finding_or_one_sentence(tmp_path):
    file = policy(tmp_path, policy_hz="fast")
    (finding,) = check_checkpoint(str(file), str(JOINT_ROBOT))
    assert "policy_hz" in finding.says and finding.where.startswith(f"{file}:")
    with pytest.raises(FileNotFoundError, match="shipped are"):
        check_checkpoint("huge")
    with pytest.raises(ValueError, match="needs a policy file"):
        check_checkpoint(str(tmp_path / "checkpoint"))
