"""The policy files that the package brings, against the robots they name."""

from dataclasses import replace
from pathlib import Path

import pytest

from vla_policy.checkpoint import contract
from vla_policy.embodiment import load_embodiment
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.paths import config_dir

FILES = sorted((config_dir() / "policies").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_shipped_policy_file_fits_its_robots(path: Path) -> None:
    file = read_policy_file(path, must_exist=False)
    for name in file.embodiments:
        assert contract.check(file.contract(image_px=224), load_embodiment(name)) == ()


def test_there_are_some() -> None:
    assert len(FILES) >= 2


def test_a_robot_may_have_cameras_that_a_checkpoint_does_not_use() -> None:
    robot = load_embodiment("aloha")
    file = read_policy_file(config_dir() / "policies" / "pi0_aloha.yaml", must_exist=False)
    fits = file.contract(image_px=224)
    assert contract.check(replace(fits, camera_names=("high", "left_wrist")), robot) == ()
    (problem,) = contract.check(replace(fits, camera_names=("high", "top")), robot)
    assert problem.startswith("cameras: the checkpoint has ('high', 'top'), robot 'aloha' has")
