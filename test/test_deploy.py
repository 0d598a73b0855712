"""Containers and services say what exists: commands, options, files; systemd takes the units."""

import re
import shlex
import shutil
import subprocess

import doc_commands
import pytest
from doc_commands import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
DOCKERFILES = sorted(DEPLOY.glob("*.Dockerfile"))


def started(unit) -> str:
    """The `vla` command of a unit, with a policy or robot in place of its instance."""
    line = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.M)[1]
    command = re.search(r"vla (?:serve|up)[^']*", line)[0]
    return command.replace("%I", "tiny").replace('"$$0"', "vx300s").replace("$$VLA_UP_OPTIONS", "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_service_starts_what_there_is(unit):
    assert doc_commands.problem(shlex.split(started(unit))) is None


def test_an_option_that_is_not_there_is_noticed():
    assert "has no option --tokn" in doc_commands.problem(shlex.split("vla serve tiny --tokn x"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="runs where systemd is")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit(unit, tmp_path):
    """As an instance; that the program is not installed here is the one thing it may say."""
    copy = tmp_path / unit.name.replace("@", "@vx300s")
    copy.write_text(unit.read_text())
    said = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60
    ).stderr
    about = [line for line in said.splitlines() if copy.name in line]
    assert [line for line in about if "is not executable" not in line] == []


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_a_container_copies_and_starts_what_there_is(file):
    text = file.read_text()
    for path in re.findall(r"/opt/vla_policy/([\w./]+)", text):
        assert (ROOT / path).is_file(), path
    run = re.search(r"^#   docker run.*vla_policy:\w+ (.*)$", text, re.M)[1]
    verb = "serve" if "server" in file.name else "up"
    assert doc_commands.problem(["vla", verb, *shlex.split(run)]) is None


def test_the_container_of_the_robot_hands_signals_on():
    """Process 1 is `vla up` itself, not a shell that waits for it."""
    script = (DEPLOY / "robot_entrypoint.sh").read_text().splitlines()
    assert script[-1] == 'exec vla up "$@"'


def test_what_a_container_copies_leaves_the_build_out():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv*", "build", "install"} <= set(ignored)


def test_tasks_of_pixi_are_targets_of_the_makefile():
    commands = re.findall(r'^\w+ = "(make [^"]+)"$', (ROOT / "pixi.toml").read_text(), re.M)
    assert len(commands) == 4
    assert [doc_commands.problem(shlex.split(command)) for command in commands] == [None] * 4
