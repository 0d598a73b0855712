"""The policy file that `vla inspect --policy-file --robot` fills: what it fills, and what it leaves to a person."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from pi0_folders import GOLDEN, copied
from safetensors.torch import load_file, save_file

from vla_policy import cli
from vla_policy.embodiment import load_embodiment
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.formats.policy_file_draft import TODO, match_cameras, match_columns

ROBOT = load_embodiment("ur5e_2f85")


def written(
    folder: Path, path: Path, capsys: pytest.CaptureFixture[str], robot: str = "ur5e_2f85"
) -> str:
    options = ["--policy-file", "--robot", robot, "--heads", "8", "1", "4"]
    assert cli.main(["inspect", str(folder), *options]) == 0
    path.write_text(capsys.readouterr().out)
    return path.read_text()


def test_all_that_the_two_say_is_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "policy.yaml"
    written(GOLDEN / "ckpt061_pi05_relative", path, capsys)
    file = read_policy_file(path, must_exist=False)
    assert file.checkpoint == GOLDEN / "ckpt061_pi05_relative"
    assert file.cameras == (("base", "side"), ("wrist", "wrist"))
    assert (file.state_names, file.action_names) == (ROBOT.state_names, ROBOT.action_names)
    assert file.spaces == tuple((g.name, g.space) for g in ROBOT.actions)
    assert file.relative == ROBOT.action_names[:6]
    assert file.embodiments == ("ur5e_2f85",) and file.policy_hz == ROBOT.policy_hz
    assert (file.heads.language, file.heads.kv, file.heads.vision) == (8, 1, 4)


def test_rates_and_older_versions_are_left_to_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path, "pi0")
    (folder / "train_config.json").write_text(json.dumps({"dataset": {"repo_id": "me/cubes"}}))
    text = written(folder, tmp_path / "policy.yaml", capsys)
    assert f"{TODO}: rows a second, the fps in meta/info.json of the data set of me/cubes" in text
    assert f"{TODO}: if lerobot 0.4.4 or older trained it" in text
    yaml.safe_load(text)


def test_data_in_degrees_is_seen_and_not_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(tmp_path, "pi05")
    path = next(folder.glob("*_normalizer_*.safetensors"))
    stats = load_file(path)
    stats["observation.state.q99"] = torch.tensor([93.0] * 6 + [100.0])
    save_file(stats, path)
    text = written(folder, tmp_path / "policy.yaml", capsys)
    assert "joint.elbow_joint reaches 93" in text
    assert "# units: {joint.shoulder_pan_joint: deg" in text and "gripper: percent}" in text
    assert "units" not in yaml.safe_load(text)


def test_another_number_of_columns_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = written(GOLDEN / "ckpt061_pi0", tmp_path / "policy.yaml", capsys, "fr3")
    assert f"{TODO}: the checkpoint has 7 columns" in text and "the robot 8" in text
    assert len(yaml.safe_load(text)["state"]) == 7


@pytest.mark.parametrize(
    ("slots", "cameras", "pairs", "open_"),
    [
        (("base", "wrist"), ("side", "wrist"), {"base": "side", "wrist": "wrist"}, ()),
        (("hand", "top"), ("wrist", "overview"), {"hand": "wrist", "top": "overview"}, ()),
        (("a", "b"), ("side", "wrist"), {"a": "side"}, ("a",)),
        (("a", "b"), ("front", "side"), {"a": "front", "b": "side"}, ("a", "b")),
        (
            ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"),
            ("front", "right_wrist", "left_wrist"),
            {"base_0_rgb": "front", "left_wrist_0_rgb": "left_wrist", "right_wrist_0_rgb": "right_wrist"},
            (),
        ),
    ],
)  # fmt: skip
def test_cameras_are_matched_by_meaning_and_else_openly_by_position(
    slots: tuple[str, ...], cameras: tuple[str, ...], pairs: dict[str, str], open_: tuple[str, ...]
) -> None:
    assert match_cameras(slots, cameras) == (pairs, frozenset(open_))


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (("elbow.pos", "base.pos"), ("joint.base", "joint.elbow"), ("joint.elbow", "joint.base")),
        (("joint_0.pos", "gripper.pos"), ("joint.a", "gripper"), ("joint.a", "gripper")),
        (("gripper.pos", "joint_0.pos"), ("joint.a", "gripper"), None),
        (("x", "y"), ("joint.a", "joint.b"), None),
    ],
)
def test_columns_are_matched_by_name_or_by_numbers_beside_the_gripper(
    labels: tuple[str, ...], names: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    assert match_columns(labels, names) == expected


def test_a_robot_goes_with_a_policy_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(GOLDEN / "ckpt061_pi0")
    assert cli.main(["inspect", folder, "--robot", "ur5e_2f85"]) == 1
    assert "--robot: goes with --policy-file" in capsys.readouterr().err
    assert cli.main(["inspect", "tiny", "--policy-file", "--robot", "ur5e_2f85"]) == 1
    assert "needs no policy file" in capsys.readouterr().err
