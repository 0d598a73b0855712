"""docs/adding_a_family.md, run as it stands: a toy model and a toy folder, through the two tables alone."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vla_policy import cli
from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.embodiment.findings import errors
from vla_policy.families import FAMILIES
from vla_policy.formats.kinds import FORMATS
from vla_policy.formats.load import kind_of
from vla_policy.policy import load_policy
from vla_policy.types import Observation

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "adding_a_family.md"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
NAMES = tuple(f"joint.{name}" for name in JOINTS)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy folder, with the toy's records in the tables."""
    family, form = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    for name, table, record, source in (
        ("toy_family", FAMILIES, "FAMILY", family),
        ("toy_format", FORMATS, "FORMAT", form),
    ):
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        monkeypatch.setitem(table, "toy", getattr(module, record))
    folder = tmp_path / "folder"
    folder.mkdir()
    config = {"toy_rows": 4, "low": [-1.5] * 5 + [0.0], "high": [1.5] * 5 + [1.0]}
    (folder / "config.json").write_text(json.dumps(config))
    network = torch.nn.Linear(6, 24)
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    tensors = {f"head.{key}": value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def policy_file(folder: Path, **other: object) -> Path:
    path = folder.parent / "toy.yaml"
    said = {
        "checkpoint": str(folder),
        "format": "toy",
        "cameras": {"eye": "static"},
        "state": list(NAMES),
        "actions": {"names": list(NAMES), "spaces": {"arm": "joint_position"}},
        "policy_hz": 30,
        "embodiments": ["so101"],
    }
    path.write_text(json.dumps(said | other))
    return path


def test_a_toy_is_told_loaded_and_run(toy: Path) -> None:
    assert kind_of(toy) == "toy"
    policy = load_policy(str(policy_file(toy)))
    observation = Observation({}, np.full(6, 0.5), NAMES, "wave", 0)
    chunk = policy.infer(observation)
    # Weights of zero say the middle of every column.
    np.testing.assert_allclose(chunk.actions, np.tile([0.0] * 5 + [0.5], (4, 1)), atol=1e-6)
    assert chunk.names == NAMES


def test_a_toy_is_described_and_drafted(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        assert cli.main(["inspect", *words]) == 0
        return capsys.readouterr().out

    assert "a folder of toy" in said(str(toy))
    told = said(str(policy_file(toy, format="auto")))
    assert "168 parameters" in told and "low       -1.5  high        1.5" in told
    assert "eye: my_camera_0" in said(str(toy), "--policy-file")
    assert "embodiments: [so101]" in said(str(toy), "--policy-file", "--robot", "so101")


def test_a_toy_is_kept_as_a_folder_of_this_project(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    assert cli.main(["convert", str(policy_file(toy)), str(own), "--to", "vla"]) == 0
    assert cli.main(["inspect", str(own)]) == 0
    assert "own: toy, a folder of this project" in capsys.readouterr().out
    observation = Observation({}, np.full(6, 0.5), NAMES, "wave", 0)
    chunks = [load_policy(str(path)).infer(observation) for path in (own, policy_file(toy))]
    np.testing.assert_array_equal(chunks[0].actions, chunks[1].actions)
    assert errors(check_checkpoint(str(own))) == ()


def test_what_a_toy_costs_is_told(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "toy"]) == 0
    assert re.search(r"^toy +168 ", capsys.readouterr().out, re.M)


def test_a_toy_is_held_against_its_robot(toy: Path) -> None:
    assert errors(check_checkpoint(str(policy_file(toy)), "so101")) == ()
    found = errors(check_checkpoint(str(policy_file(toy, policy_hz=5)), "so101"))
    assert any("policy_hz" in str(finding) for finding in found)


def test_an_unknown_folder_is_told_what_would_be_known(toy: Path) -> None:
    (toy / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"toy_rows \(toy\)"):
        kind_of(toy)


def test_without_its_line_in_the_table_it_is_refused(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(FORMATS, "toy")
    with pytest.raises(ValueError, match="format: got 'toy', expected one of auto, vla, lerobot"):
        load_policy(str(policy_file(toy)))
