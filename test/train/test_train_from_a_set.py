"""`vla train` from a recorded set to a policy that acts, through the command line."""

import shutil

import numpy as np
import pytest
from training_sets import ROBOT, arm_set, frame

from vla_policy.cli import main
from vla_policy.embodiment import load_embodiment
from vla_policy.policy import load_policy
from vla_policy.train.run_file import read_run
from vla_policy.types import Observation, Reason


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    return arm_set(tmp_path_factory.mktemp("set") / "arm", (9, 8), tasks=("push it along", "lift"))


def observation():
    seen = frame(0, 2)
    return Observation(
        images={c: np.asarray(seen.images[c]) for c in ROBOT.camera_names},
        state=np.array(seen.state), state_names=ROBOT.state_names, instruction="push it along", obs_ns=5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(demonstrations, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--policy", "tiny", "--data", demonstrations, "--out", out, "--steps", 6]
    assert main([str(w) for w in [*words, "--batch", 4, "--workers", 0, "--threads", 1]]) == 0
    return out


def test_the_folder_acts_and_fits_the_robot_of_the_data(trained):
    policy = load_policy(str(trained / "checkpoint"))
    assert policy.check(load_embodiment("vx300s")) == ()
    chunk = policy.infer(observation())
    assert np.isfinite(chunk.actions).all()
    before = load_policy("tiny").infer(observation())
    assert not np.allclose(chunk.actions, before.actions)


def test_check_and_convert_take_the_folder(trained, tmp_path, capsys):
    assert main(["check", "checkpoint", str(trained / "checkpoint"), "--robot", "vx300s"]) == 0
    assert "error" not in capsys.readouterr().out.lower().replace("0 errors", "")


def test_the_tasks_of_the_data_are_understood(trained):
    policy = load_policy(str(trained / "checkpoint"))
    assert policy.understands("Push it along!") is None
    assert isinstance(load_policy("tiny").understands("push it along"), Reason)
    # Its vision has changed, so it cannot tell what is absent.
    assert policy.checkpoint.naming is None


def test_the_same_command_has_nothing_more_to_do_and_the_folder_alone_is_enough(trained, capsys):
    log = (trained / "log.jsonl").read_text()
    assert main(["train", str(trained)]) == 0
    assert (trained / "log.jsonl").read_text() == log
    assert f"checkpoint: {trained}/checkpoint" in capsys.readouterr().out


def test_a_run_folder_may_be_moved(trained, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "moved", symlinks=True)
    assert main(["train", str(moved)]) == 0
    assert read_run(moved / "run.yaml").steps == 6


def test_another_run_in_the_folder_is_refused(trained, demonstrations, capsys):
    words = ["train", "--policy", "tiny", "--data", demonstrations, "--out", trained, "--steps", 7]
    assert main([str(w) for w in [*words, "--batch", 4]]) == 1
    assert "the folder of another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--policy", "tiny", "--out", "x"), "vla train: data: got nothing, expected this key"),
        (("--policy", "tinny", "--data", "SET", "--out", "x"), "policy 'tinny': no folder"),
        (("--policy", "tiny", "--data", "nowhere", "--out", "x"), "nowhere"),
        (("none.yaml",), "run 'none.yaml': no run file of that path"),
    ],
)  # fmt: skip
def test_mistakes_are_a_sentence(words, says, demonstrations, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *(str(demonstrations) if w == "SET" else w for w in words)]) == 1
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x").exists()
