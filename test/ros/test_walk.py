"""The walk of docs/checkpoints.md: the commands that stand there, from a training output of lerobot to a moving mock."""

import filecmp
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pi0_folders import GOLDEN, characters
from ros_witness import patient, processes, spinning, wait
from safetensors.torch import load_file, save_file
from std_msgs.msg import String
from vla_policy.msg import ActionChunk, ControlStatus

from vla_policy.embodiment import load_embodiment
from vla_policy.ros.process import qos

rclpy = pytest.importorskip("rclpy")

ROBOT = load_embodiment("ur5e_2f85")
DOCS = Path(__file__).parent.parent.parent / "docs" / "checkpoints.md"
HEADS = "--heads 8 1 4"  # of the small weights; published sizes need none
UP_S = 120.0


def commands() -> list[str]:
    """The lines of the walk as they stand in the docs, without comments."""
    section = DOCS.read_text().partition("## From a lerobot folder to a mock")[2]
    block = section.split("```")[1]
    return [line.partition("#")[0].strip() for line in block.strip().splitlines()]


def training_output(root: Path, golden: str) -> Path:
    """outputs/train/my_run as lerobot leaves it, with statistics of an arm in this robot's ranges."""
    step = root / "outputs" / "train" / "my_run" / "checkpoints" / "000100"
    folder = step / "pretrained_model"
    shutil.copytree(GOLDEN / golden, folder)
    (step.parent / "last").symlink_to("000100")
    relative = "relative" in golden
    for path in folder.glob("policy_*.safetensors"):
        stats = load_file(path)
        for name in ("observation.state", "action"):
            reach = 0.2 if relative and name == "action" else 1.0
            low, high = torch.tensor([-reach] * 6 + [0.0]), torch.tensor([reach] * 6 + [1.0])
            middle = (low + high) / 2
            stats |= {f"{name}.q01": low, f"{name}.q99": high, f"{name}.mean": middle}
            stats[f"{name}.std"] = (high - low) / 4
        save_file(stats, path)
    (folder / "tokenizer").mkdir()
    characters(folder / "tokenizer" / "tokenizer.json")
    (folder / "expected.safetensors").unlink()
    return folder


def ran(line: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120)  # fmt: skip


@pytest.mark.timeout(600)  # eight programs that load torch, one after another
@pytest.mark.parametrize("golden", ["ckpt061_pi0", "ckpt061_pi05_relative"])
def test_the_walk(golden: str, ros: None, tmp_path: Path) -> None:
    folder = training_output(tmp_path, golden)
    leads, shows, fills, both, checks, up = commands()
    answer = ran(leads, tmp_path)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert answer.stderr.strip().endswith(
        "give outputs/train/my_run/checkpoints/last/pretrained_model"
    )
    answer = ran(f"{shows} {HEADS}", tmp_path)
    assert answer.returncode == 0 and "cameras it knows: base, wrist" in answer.stdout, answer
    answer = ran(fills.replace(" > ", f" {HEADS} > "), tmp_path)
    assert answer.returncode == 0, answer
    for line in (both, checks):
        answer = ran(line, tmp_path)
        assert answer.returncode == 0, answer

    line = ran(
        "vla convert my_policy.yaml own --to vla && vla convert own back --to lerobot", tmp_path
    )
    assert line.returncode == 0, line
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder)
            assert filecmp.cmp(path, tmp_path / "back" / name, shallow=False), name

    own = up.replace("my_policy.yaml", "own")  # the converted folder, for one of the two
    chunk, status = acts(own if "relative" in golden else up, tmp_path)
    assert tuple(chunk.names) == ROBOT.action_names
    rows = np.array(chunk.values).reshape(-1, len(chunk.names))
    assert len(rows) == 10 and np.isfinite(rows).all()
    assert status.engaged and status.level != ControlStatus.LEVEL_STOP


def acts(line: str, folder: Path) -> tuple[ActionChunk, ControlStatus]:
    """The first chunk of a mock that is started by line and told what to do, and a status that follows it."""
    # Beside other tests the robot's own bounds may keep the policy from seeing anything.
    program, *arguments = line.replace(ROBOT.name, str(patient(ROBOT.name, folder))).split()
    line = [shutil.which(program), *arguments[:-1], str(folder / arguments[-1]), "--web-port", "0"]
    node = rclpy.create_node("walker")
    chunks, statuses = [], []
    node.create_subscription(ActionChunk, "action_chunk", chunks.append, qos.COMMAND)
    node.create_subscription(ControlStatus, "control_status", statuses.append, qos.LATCHED)
    says = node.create_publisher(String, "instruction", qos.COMMAND)
    asked = [0.0]

    def heard() -> bool:
        if time.monotonic() > asked[0] + 1.0 and not chunks:
            says.publish(String(data="pick up the cube"))
            asked[0] = time.monotonic()
        return bool(chunks) and any(status.queued_rows for status in statuses)

    with processes([line], folder / "up.log", dict(os.environ)), spinning(node):
        wait(heard, "a chunk of the mock, followed", UP_S)
        return chunks[0], next(s for s in reversed(statuses) if s.queued_rows)


@pytest.mark.parametrize("change", ["gripper", "rate"])
def test_the_policy_node_refuses_what_the_check_calls_an_error(
    change: str, ros: None, tmp_path: Path
) -> None:
    training_output(tmp_path, "ckpt061_pi0")
    _, _, fills, _, checks, _ = commands()
    assert ran(fills.replace(" > ", f" {HEADS} > "), tmp_path).returncode == 0
    if change == "rate":
        path = tmp_path / "my_policy.yaml"
        path.write_text(re.sub(r"\npolicy_hz: .*", "\npolicy_hz: 30", path.read_text()))
    else:
        for path in tmp_path.rglob("policy_*.safetensors"):
            stats = load_file(path)
            stats["observation.state.mean"][6] = 50.0
            save_file(stats, path)
    answer = ran(checks, tmp_path)
    assert answer.returncode == 1
    says = {"rate": "rows come at 30 Hz", "gripper": "expected a fraction"}[change]
    assert says in " ".join(answer.stdout.split())
    from vla_policy.ros.nodes import policy_startup

    with pytest.raises(policy_startup.REFUSALS, match=says):
        policy_startup.load(ROBOT, str(tmp_path / "my_policy.yaml"), "flow", "cpu", 1)
