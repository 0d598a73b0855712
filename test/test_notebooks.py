"""The notebooks are as they are to be kept: set up by their first cell, without outputs, calling what there is.

Their execution is `make notebooks` and a workflow; here they are only read, but for the first cell, whose commands are kept
instead of run.
"""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import doc_commands
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = ["01_see", "02_record", "03_train", "04_adapt", "05_compare", "06_serve"]
LARGEST = 100_000  # bytes


def cells(path: Path, kind: str) -> list[str]:
    document = json.loads(path.read_text())
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    found = [cell for cell in document["cells"] if cell["cell_type"] == kind]
    assert all(cell.get("outputs", []) == [] and cell.get("execution_count") is None for cell in found)  # fmt: skip
    return ["".join(cell["source"]) for cell in found]


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_setup_and_says_what_it_is(path):
    first = cells(path, "code")[0]
    assert 'there("vla_policy")' in first and "SOURCE" in first
    assert first == cells(NOTEBOOKS[0], "code")[0]  # the same everywhere
    assert cells(path, "markdown")[0].startswith(f"# {path.stem[3:].capitalize()}\n\n")
    assert path.stat().st_size < LARGEST


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
    """Runs the cell where some modules are not installed; its commands. told: MUJOCO_GL, and whether MuJoCo loads with it."""

    def run(*, lacks, source=None, told=None, loads=True):
        commands = []

        def keep(command, **how):
            commands.append(list(command))
            return subprocess.CompletedProcess(command, 0 if loads else 1)

        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in lacks else find(name))  # fmt: skip
        monkeypatch.setattr(subprocess, "run", keep)
        for name, value in (("VLA_POLICY_SOURCE", source), ("MUJOCO_GL", told), ("OMP_NUM_THREADS", None)):  # fmt: skip
            monkeypatch.setenv(name, "")  # so that it is as before afterwards
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        monkeypatch.chdir(tmp_path)
        exec(compile(cells(NOTEBOOKS[0], "code")[0], "first cell", "exec"), {})  # noqa: S102
        return commands

    return run


PIP = [sys.executable, "-m", "pip", "install", "--quiet"]
CPU_TORCH = [*PIP, "torch==2.13.0", "--extra-index-url", "https://download.pytorch.org/whl/cpu"]


def test_the_first_cell_installs_nothing_where_everything_is_there(first_cell):
    assert first_cell(lacks=()) == []
    assert (os.environ["MUJOCO_GL"], os.environ["OMP_NUM_THREADS"]) == ("disable", "2")


@pytest.mark.parametrize("prefix", ["", "git+"])
def test_a_hosted_notebook_clones_and_keeps_the_hosts_own_torch(first_cell, prefix):
    clone, package, meshes = first_cell(
        lacks=("vla_policy",), source=f"{prefix}https://host/owner/vla_policy"
    )
    assert clone[:2] == ["git", "clone"]
    assert clone[-2:] == ["https://host/owner/vla_policy", "./vla_policy_source"]
    assert package == [*PIP, "./vla_policy_source[sim,data,train,serve]", "matplotlib"]
    assert meshes == [*PIP, "--no-deps", "gym-aloha==0.1.5"]


def test_without_torch_the_one_for_a_cpu_comes_first_and_a_clone_that_is_there_is_taken(
    first_cell, tmp_path
):
    (tmp_path / "vla_policy_source").mkdir()
    commands = first_cell(lacks=("vla_policy", "torch"), source="https://host/owner/vla_policy")
    assert commands[0] == CPU_TORCH and commands[1][-2].startswith("./vla_policy_source[")


def test_a_folder_is_installed_from_and_one_without_the_repository_refused(first_cell):
    commands = first_cell(lacks=("vla_policy",), source=str(ROOT))
    assert commands[0] == [*PIP, f"{ROOT}[sim,data,train,serve]", "matplotlib"]
    with pytest.raises(ValueError, match=r"SOURCE: got '\.\.', expected a folder with the repos"):
        first_cell(lacks=("vla_policy",))


@pytest.mark.parametrize(("loads", "expected"), [(True, "egl"), (False, "disable")])
def test_the_hosts_way_to_draw_is_kept_only_if_mujoco_loads_with_it(first_cell, loads, expected):
    assert first_cell(lacks=(), told="egl", loads=loads) == [
        [sys.executable, "-c", "import mujoco"]
    ]
    assert os.environ["MUJOCO_GL"] == expected


def test_the_first_cell_installs_what_the_set_up_does():
    first = cells(NOTEBOOKS[0], "code")[0]
    constants = dict(re.findall(r'^(\w+) = "([^"]+)"$', (ROOT / "tools/bootstrap.py").read_text(), re.M))  # fmt: skip
    assert all(f'"{constants[name]}"' in first for name in ("TORCH", "CPU_WHEELS", "GYM_ALOHA"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_and_calls_what_there_is(path):
    for source in cells(path, "code"):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("vla_policy"):
                known = doc_commands.names_in(node.module)
                assert {alias.name for alias in node.names} <= known
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "vla":
                words = [a.value if isinstance(a, ast.Constant) else "X" for a in node.args]
                words = [str(word) for word in words]
                words = [w for w in words if not re.fullmatch(r"\*.*", w)]
                assert doc_commands.problem(["vla", *words]) is None, words
