"""Set-up: refusals that say what to do, and steps that are done once."""

import importlib.util
import os
import platform
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "bootstrap.py"
Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.fixture
def bootstrap(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("bootstrap", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOG", tmp_path / "log" / "setup.log")
    return module


@pytest.mark.parametrize("minor", [8, 9, 15])
def test_an_unsupported_python_is_refused(bootstrap, monkeypatch, minor):
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 0, "final", 0))
    with pytest.raises(bootstrap.SetupError, match=rf"got CPython 3\.{minor} .* PYTHON=python3"):
        bootstrap.check_python()


@pytest.mark.parametrize("minor", range(10, 15))
def test_supported_pythons(bootstrap, monkeypatch, minor):
    monkeypatch.setattr(sys, "version_info", Version(3, minor, 0, "final", 0))
    bootstrap.check_python()


@pytest.mark.parametrize(("system", "machine"), [("Linux", "aarch64"), ("Darwin", "arm64")])
def test_other_machines_are_told_to_install_ros(bootstrap, monkeypatch, system, machine):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(bootstrap.SetupError, match=rf"got {system} {machine}; .*Install ROS 2"):
        bootstrap.check_machine()


def test_without_root_the_exact_line_is_given(bootstrap, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda program: None)
    monkeypatch.setattr(bootstrap, "loads", lambda library: True)
    line = r"sudo apt-get install -y --no-install-recommends g\+\+ cmake make"
    with pytest.raises(bootstrap.SetupError, match=line):
        bootstrap.system_packages(compiler=True)


@pytest.mark.parametrize(("root", "system"), [(False, "debian"), (True, "ubuntu")])
def test_without_a_browser_it_goes_on_and_says_what_is_skipped(
    bootstrap, monkeypatch, capsys, root, system
):
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(
        bootstrap.shutil,
        "which",
        lambda program: "/usr/bin/apt-get" if program == "apt-get" else None,
    )
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": system})
    monkeypatch.setattr(bootstrap, "run", lambda *args, **kwargs: pytest.fail(f"ran {args}"))
    bootstrap.browser()
    said = capsys.readouterr().out
    assert "tests of the operator's page will be skipped" in said
    assert "sudo apt-get install -y --no-install-recommends chromium fonts-dejavu-core" in said


def test_a_browser_is_installed_once(bootstrap, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        bootstrap.shutil,
        "which",
        lambda program: (
            f"/usr/bin/{program}"
            if program == "apt-get" or (ran and program == "chromium")
            else None
        ),
    )
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"ID": "debian"})
    monkeypatch.setattr(bootstrap, "run", lambda line, **kwargs: ran.append(line) or 0)
    bootstrap.browser()
    bootstrap.browser()
    assert [line[:2] for line in ran] == [["apt-get", "update"], ["apt-get", "install"]]
    assert "chromium" in ran[1]


def test_missing_gl_is_no_reason_to_stop(bootstrap, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(bootstrap, "loads", lambda library: False)
    bootstrap.system_packages(compiler=True)
    assert (
        "sudo apt-get install -y --no-install-recommends libegl1 libgl1" in capsys.readouterr().out
    )


def test_a_step_is_done_again_only_if_its_inputs_changed(bootstrap, tmp_path):
    listed = tmp_path / "requirements.txt"
    listed.write_text("numpy")
    bootstrap.Stamp(tmp_path, "step", ["torch", listed]).write()
    assert bootstrap.Stamp(tmp_path, "step", ["torch", listed]).current()
    listed.write_text("numpy>=2")
    assert not bootstrap.Stamp(tmp_path, "step", ["torch", listed]).current()
    assert not bootstrap.Stamp(tmp_path, "other", ["torch", listed]).current()


def test_a_failed_command_shows_its_last_words(bootstrap):
    with pytest.raises(bootstrap.SetupError, match="no such luck"):
        bootstrap.run([sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"])
    assert bootstrap.run([sys.executable, "-c", "raise SystemExit(3)"], check=False) == 3
    assert bootstrap.run(["no-such-program"], check=False) == 127


def test_build_paths_of_the_wheels_are_rewritten(bootstrap, tmp_path, monkeypatch):
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    dotted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    cmake = tmp_path / "share" / "std_msgs" / "cmake" / "export.cmake"
    cmake.parent.mkdir(parents=True)
    built = f"/opt/python/{tag}-{tag}"
    cmake.write_text(
        f"{built}/include/python{dotted};{built}/lib/python{dotted}/site-packages/numpy/_core/include"
    )
    monkeypatch.setattr(bootstrap, "output", lambda command: "/here/include\n/here/numpy")
    bootstrap.rewrite_build_paths(tmp_path)
    assert cmake.read_text() == "/here/include;/here/numpy"


def test_interfaces_that_the_environment_lacks_are_built(bootstrap, tmp_path, monkeypatch):
    """What was built before does not count, or a second build would leave it out."""
    for name in ("no_such_msgs", "json"):
        (tmp_path / "interfaces" / name).mkdir(parents=True)
        (tmp_path / "interfaces" / name / "package.xml").write_text("<package/>")
    (tmp_path / "built" / "no_such_msgs").mkdir(parents=True)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "built"))
    assert bootstrap.lacking_interfaces(Path(sys.prefix)) == ["no_such_msgs"]


def test_every_interface_a_robot_needs_can_be_built(bootstrap):
    names = {p.parent.name for p in (bootstrap.ROOT / "interfaces").glob("*/package.xml")}
    assert names == {"control_msgs", "moveit_msgs"}


def test_an_executable_without_the_workspace_names_what_to_source(tmp_path):
    template = (Path(__file__).parents[1] / "tools" / "executable.py.in").read_text()
    program = tmp_path / "vla"
    program.write_text(template.replace("@MODULE@", "vla_policy.cli"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", str(program), "--help"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert ". install/setup.bash" in done.stderr and "Traceback" not in done.stderr


def test_a_crash_in_a_library_leaves_the_stacks(tmp_path):
    template = (Path(__file__).parents[1] / "tools" / "executable.py.in").read_text()
    (tmp_path / "crashing.py").write_text(
        "import os, signal\ndef main():\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    program = tmp_path / "crashing_node"
    program.write_text(template.replace("@MODULE@", "crashing"))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGSEGV
    assert "Segmentation fault" in done.stderr and "in main" in done.stderr
