"""`vla record` as a process: the expert in the twin without a person, keys from a pipe, and what it refuses."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy")

from std_srvs.srv import SetBool  # noqa: E402

from vla_policy import cli  # noqa: E402
from vla_policy.data.bag.reader import open_bag  # noqa: E402
from vla_policy.data.lerobot.reader import open_set  # noqa: E402
from vla_policy.data.scene import DrawnScene  # noqa: E402


def benchmark(name):
    """A program of benchmarks/ as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_expert_demonstrates_through_the_running_graph(tmp_path):
    line = ["vla", "record", "--robot", "vx300s", "--sim", "--operator", "expert"]
    out = tmp_path / "rec"
    done = subprocess.run(
        [*line, "--episodes", "1", "--out", out], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 episodes in" in done.stdout
    found = open_set(out / "set")
    assert found.info["total_episodes"] == 1
    episode = found.episode(0)
    assert episode.success is True and episode.task
    frames = list(episode.frames)
    sources = [frame.control_source for frame in frames]
    assert sources.count("teleop") > 0.7 * len(frames) > 7
    assert all(frame.valid for frame in frames[3:])
    assert abs(frames[-1].state - frames[0].state).max() > 0.02
    # The scene of the demonstration that was kept, which on a busy machine may not be the first.
    kept = re.search(r"scene (\d+): episode 0 is saved", done.stdout)
    assert kept and found.scene(0) == DrawnScene(int(kept[1]), "train")
    figures = benchmark("recorded_generated").compare(out / "set")["apart"]
    assert figures["state_mm"]["p50"] <= 10.0 and figures["gripper"]["p50"] <= 0.1
    assert figures["turn_deg"]["p95"] <= 1.0
    messages = list(open_bag(out / "bags" / "episode-000000").messages())
    assert {"/teleop_chunk", "/control_command", "/sim_event", "/front/image_raw"} <= {
        message.topic for message in messages
    }


def test_keys_from_a_pipe_begin_end_keep_and_quit(mock_robot, start_node, tmp_path):
    start_node("control_node")
    start_node("recorder_node", folder=tmp_path / "rec", least_free_gb=0.0)
    mock_robot.wait_status(lambda s: 0 <= s.joint_state_age < 0.1, "fresh joint states")
    for _ in range(20):
        if mock_robot.call(SetBool, "/control/engage", SetBool.Request(data=True)).success:
            break
        mock_robot.wait_ticks(1)
    said = tmp_path / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            ["vla", "record", "--task", "pick up the red cube"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def press(key, until):
        process.stdin.write(key.encode())
        process.stdin.flush()
        mock_robot.wait(
            lambda: until in said.read_text(), f"{until!r} in {said.read_text()!r}", 20
        )

    try:
        mock_robot.wait(lambda: "ready: episode 0" in said.read_text(), "that it is ready")
        press(" ", "recording")
        mock_robot.send_chunk([mock_robot.pose[0] + 0.003 * k for k in range(1, 9)])
        mock_robot.wait_ticks(8)
        press(" ", "keep or discard?")
        press("s", "episode 0 is saved")
        process.communicate(b"q", timeout=20)
    finally:
        process.kill()
        process.wait()
    out = said.read_text()
    assert process.returncode == 0, out
    assert open_set(tmp_path / "rec" / "set").episode(0).task == "pick up the red cube"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--operator", "expert"], "--operator expert looks at the simulation's truth; add --sim"),
        (["--disturbed"], "--disturbed is of the twin's operator; add --sim --operator expert"),
        (["--sim"], "--sim starts a recorder of its own; say where it records: --out FOLDER"),
        (["--sim", "--out", "x", "--episodes", "0"], "expected at least 1, more than 0, 0 to 9"),
        (["--robot", "nobody"], "nobody"),
    ],
)
def test_wrong_words_are_refused_in_a_sentence(words, sentence, capsys):
    assert cli.main(["record", *words]) == 1
    assert sentence in capsys.readouterr().err


def test_without_a_recorder_it_says_how_to_start_one(capsys, monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "99")
    assert cli.main(["record"]) == 1
    assert "no recorder in ROS domain 99" in capsys.readouterr().err
