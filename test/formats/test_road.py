"""The road of docs/checkpoints.md without a robot: folder -> inspect -> policy file -> check -> load -> act -> convert.

Every kind of folder goes it with every robot that it can drive; the others are refused by the first command that
hears of both, in one sentence. With the programs themselves and a running mock: python benchmarks/road.py.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from road_folders import FOLDERS
from safetensors.torch import load_file

from vla_policy import cli
from vla_policy.embodiment import Embodiment, embodiment_names, load_embodiment
from vla_policy.formats.conversion.convert import convert
from vla_policy.policy import load_policy
from vla_policy.types import Observation

EVERY = set(embodiment_names())
# The robots that a kind of folder can drive; every one where it is not there.
DRIVES = {
    "openvla": {"panda_cartesian", "vx300s"},
    "paligemma": {"vx300s"},
    "pi05_relative": {"aloha", "fr3", "so101", "ur5e_2f85", "vx300s", "vx300s_pair"},
}
SAYS = {
    "openvla": "OpenVLA says steps of a tool; robots here that it can drive: panda_cartesian, vx300s",
    "paligemma": "RT-2 says steps of a tool; robots here that it can drive: vx300s",
    "pi05_relative": "minus the state",
}
OLD = {"pi0_lerobot_0.3", "pi0_lerobot_0.4"}  # differ by what no robot changes
SOME = {"ur5e_2f85", "vx300s_pair"}
REFUSED = ("fr3", "tiago", "ur5e_servo", "vx300s_mobile", "xarm7")
BACK = ("pi0", "pi05_relative", "smolvla")  # kinds that are also written in lerobot's form


def observation(robot: Embodiment) -> Observation:
    rng = np.random.default_rng(0)
    images = {n: rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for n in robot.camera_names}
    state = np.array([1.0 if name.endswith("qw") else 0.3 for name in robot.state_names])
    return Observation(images, state, robot.state_names, "pick up the cube", obs_ns=7)


class Road:
    """One folder and one robot; says: what the last command printed."""

    def __init__(self, kind: str, robot: str, root: Path, capsys: pytest.CaptureFixture[str]):
        self.robot = load_embodiment(robot)
        write, heads = FOLDERS[kind]
        self.folder = write(root / f"{kind}_{robot}", self.robot)
        self.heads = [] if heads is None else ["--heads", *map(str, heads)]
        self.file = root / f"{kind}_{robot}.yaml"
        self.capsys, self.says = capsys, ""

    def vla(self, *words: str) -> int:
        code = cli.main(list(words))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err
        self.says = out + err
        return code

    def fills(self) -> int:
        options = ["--policy-file", "--robot", self.robot.name, *self.heads]
        code = self.vla("inspect", str(self.folder), *options)
        self.file.write_text(self.says if code == 0 else "")
        return code

    def checks(self) -> int:
        return self.vla("check", "checkpoint", str(self.file), "--robot", self.robot.name)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOLDERS)
def test_every_folder_with_every_robot_that_it_can_drive(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in sorted(SOME if kind in OLD else DRIVES.get(kind, EVERY)):
        road = Road(kind, name, tmp_path, capsys)
        assert road.vla("inspect", str(road.folder), *road.heads) == 0
        assert "--policy-file --robot ROBOT" in road.says
        assert road.fills() == 0, road.says
        assert yaml.safe_load(road.says)["embodiments"] == [name]
        assert road.vla("inspect", str(road.file)) == 0, road.says
        assert (road.checks() == 0 and "0 errors" in road.says) or "nothing wrong" in road.says
        policy = load_policy(str(road.file), embodiment=name)
        chunk = policy.infer(observation(road.robot), seed=0)
        assert chunk.names == road.robot.action_names
        assert np.isfinite(chunk.actions).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRIVES)
def test_the_other_robots_are_refused_where_the_two_first_meet(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in sorted(set(REFUSED) - DRIVES[kind]):
        road = Road(kind, name, tmp_path, capsys)
        code = road.fills()
        if code == 0:  # the file can be written, and what is in it cannot be driven
            code = road.checks()
        assert code == 1 and SAYS[kind] in " ".join(road.says.split()), (name, road.says)
        if road.file.read_text() == "":
            assert road.checks() == 1 and "empty, expected a policy file" in road.says


@pytest.mark.parametrize("kind", FOLDERS)
def test_there_and_back(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "vx300s"
    road = Road(kind, name, tmp_path, capsys)
    assert road.fills() == 0, road.says
    own = tmp_path / "own"
    assert road.checks() == 0, road.says
    convert(road.file, own, "vla")
    assert road.vla("check", "checkpoint", str(own), "--robot", name) == 0, road.says
    given = observation(road.robot)
    both = [load_policy(str(p), embodiment=name).infer(given, seed=0) for p in (road.file, own)]
    np.testing.assert_array_equal(both[0].actions, both[1].actions)
    if kind in BACK:
        convert(own, tmp_path / "back", "lerobot")
        for path in road.folder.rglob("*.safetensors"):
            there, back = (load_file(p) for p in (path, tmp_path / "back" / path.name))
            assert there.keys() == back.keys()
            assert all(torch.equal(there[key], back[key]) for key in there), path.name


@pytest.mark.parametrize(
    ("names", "spaces"),
    [
        ("ur5e_2f85", {"arm": "joint_position", "gripper": "gripper"}),
        ("ur5e_servo", {"arm": "ee_twist", "gripper": "gripper"}),
    ],
)
def test_seven_columns_of_something_else_are_no_step_of_a_tool(
    names: str, spaces: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    road = Road("openvla", "panda_cartesian", tmp_path, capsys)
    assert road.fills() == 0
    robot = load_embodiment(names)
    content = yaml.safe_load(road.says) | {
        "state": list(robot.state_names), "embodiments": [names],
        "actions": {"names": list(robot.action_names), "spaces": spaces},
    }  # fmt: skip
    road.file.write_text(yaml.safe_dump(content))
    assert road.vla("check", "checkpoint", str(road.file), "--robot", names) == 1
    says = "OpenVLA says steps of a tool"
    assert says in road.says
    with pytest.raises(ValueError, match=re.escape(says)):
        load_policy(str(road.file))
