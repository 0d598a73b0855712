"""Every example runs as it is and prints what it promises."""

import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
PRINTS = {
    "01_predict_a_chunk": "10 rows, one each 0.1 s, of ee.x, ee.y, ee.z, ",
    "02_closed_loop": "please put the green object into the tray: ",
    "03_read_a_robot": "arm (joint_position): scaled_joint_trajectory_controller/joint_trajectory",
    "04_a_policy_of_your_own": "take the purple cube: nothing_moved; the tool is 0.4",
    "05_inspect_and_check": "tiny fits vx300s: True; tiny fits fr3: False",
    "06_train_a_few_steps": "sees front, wrist and ee.x, ",
}
LONG = ("02_closed_loop", "04_a_policy_of_your_own", "06_train_a_few_steps")  # trials, steps


def test_every_example_is_run():
    assert sorted(PRINTS) == sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in LONG else []) for n in PRINTS],
)
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    path = FOLDER / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path)])
    runpy.run_path(str(path), run_name="__main__")
    assert PRINTS[name] in capsys.readouterr().out
