"""Does the package work where nothing but itself is there? A wheel in a fresh environment, and a fresh colcon workspace.

    python tools/try_packages.py wheel        # models, `vla serve` and a client, no ROS
    python tools/try_packages.py workspace    # colcon build, colcon test, a mock robot

Both begin from what is committed. --torch-of ENVIRONMENT links torch and what it needs from there, which saves the
download. The workspace needs ROS: an installation that is sourced, or the environment that `make setup` made. Messages
that this ROS lacks are built from interfaces/ as the set-up does. --test PATTERN takes those of the tests with nodes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH, CPU_WHEELS = "torch==2.13.0", "https://download.pytorch.org/whl/cpu"
READY_S, STOP_S = 120.0, 30.0
SPACE = "/try_packages"  # of the mock: no other robot is spoken to
# In the environment of the wheel: the same chunk here and from `vla serve` there, and no torch in the client.
CLIENT = """
import sys
import numpy as np
from importlib.util import find_spec
assert find_spec("rclpy") is None, "ROS is in this environment"
from vla_policy.remote.client import connect_policy
from vla_policy.runtime.observation import blank_observation
there = connect_policy(sys.argv[1])
seen = blank_observation(there.contract)
far = there.infer(seen, seed=3).actions
there.close()
assert "torch" not in sys.modules, "the client imported torch"
from vla_policy.policy import load_policy
near = load_policy("tiny").infer(seen, seed=3).actions
print(f"{len(far)} rows, largest difference {np.abs(far - near).max():.1e}")
assert np.allclose(far, near, atol=1e-6)
"""


class Failed(Exception):
    """What did not work, one sentence."""


def main() -> int:
    """0 if everything worked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("wheel", "workspace"))
    parser.add_argument("--torch-of", type=Path, metavar="ENVIRONMENT")
    parser.add_argument("--test", default="convert or shutdown", metavar="PATTERN",
                        help="of pytest -k; `all`: every test, half an hour")  # fmt: skip
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if args.what == "wheel":
                run("git", "clone", "--quiet", ROOT, folder / "source")
                say(try_wheel(build_wheel(folder / "source", folder), folder, args.torch_of))
            else:
                try_workspace(folder, args.test)
        except Failed as error:
            print(f"FAILED  {error}", file=sys.stderr)
            return 1
    return 0


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of the sources, in folder."""
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source
    )
    return next(folder.glob("*.whl"))


def try_wheel(wheel: Path, folder: Path, torch_of: Path | None = None) -> str:
    """What a wheel does in a fresh environment below folder, in a few words. Raises Failed."""
    fresh = folder / "fresh"
    # Without what a shell has sourced: pip would take what is built there for installed.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AMENT", "ROS"))}
    run(sys.executable, "-m", "venv", fresh, env=clean)
    python, vla = fresh / "bin" / "python", fresh / "bin" / "vla"
    if torch_of is None:
        line = ("--quiet", TORCH, "--extra-index-url", CPU_WHEELS)
        run(python, "-m", "pip", "install", *line, env=clean)
    else:
        link_torch(torch_of, fresh)
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[serve]", env=clean)
    version = run(vla, "--version", cwd=folder, env=clean).strip()
    if f"-{version}-" not in wheel.name:
        raise Failed(f"vla --version: got {version!r}, expected that of {wheel.name}")
    models = len(run(vla, "models", cwd=folder, env=clean).splitlines())
    with Running([vla, "serve", "tiny", "--port", "0"], folder, clean) as server:
        address = re.search(r"ws://\S+", server.wait_for("ws://", READY_S))[0]
        found = run(python, "-c", CLIENT, address, cwd=folder, env=clean).strip()
    return f"{version}: vla models prints {models} lines, a client of vla serve gets {found}"


def link_torch(environment: Path, fresh: Path) -> None:
    """Links to torch and what it needs, and to nothing else, of another environment with the same Python."""
    there, here = (next(e.glob("lib/python*/site-packages")) for e in (environment, fresh))
    known = {
        re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d
        for d in importlib.metadata.distributions(path=[str(there)])
    }
    todo, seen = ["torch"], set()
    while todo:
        name = todo.pop()
        if name in seen or name not in known:
            continue
        seen.add(name)
        for path in {file.parts[0] for file in known[name].files or () if ".." not in file.parts}:
            if path != "__pycache__" and not (here / path).exists():
                (here / path).symlink_to(there / path)
        for line in known[name].requires or ():
            if "extra ==" not in line:
                todo.append(re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower())


def try_workspace(folder: Path, test: str) -> None:
    """Build, test and start a mock in a colcon workspace that has this repository alone. Raises Failed."""
    source = folder / "src" / "vla_policy"
    run("git", "clone", "--quiet", ROOT, source)
    env = dict(os.environ)
    paths = ["src"]
    if "ROS_DISTRO" in env:
        say(f"ROS 2 {env['ROS_DISTRO']}, as it is sourced")
    else:
        venv = ROOT / ".venv"
        if not (venv / "bin" / "colcon").exists():
            raise Failed(f"neither is ROS sourced nor is there {venv}; run make setup")
        say(f"ROS 2 from the wheels of {venv}")
        kept = (
            "HOME",
            "LANG",
            "TMPDIR",
            "MAKEFLAGS",
            "ROS_DOMAIN_ID",
            "ROS_AUTOMATIC_DISCOVERY_RANGE",
        )
        env = {k: env[k] for k in kept if k in env}
        env |= {
            "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(venv),
            "AMENT_PREFIX_PATH": str(venv), "CMAKE_PREFIX_PATH": str(venv),
        }  # fmt: skip
        paths += lacking(venv, source)
    begun_s = time.monotonic()
    run("colcon", "build", "--base-paths", *paths, cwd=folder, env=env)
    say(
        f"colcon build: {time.monotonic() - begun_s:.0f} s, {len(paths) - 1} message packages beside it"
    )
    chosen = [] if test == "all" else ["--ctest-args", "-R", "ros"]
    options = {} if test == "all" else {"PYTEST_ADDOPTS": f"-k '{test}'"}
    tested = sourced(folder, env) | options
    run("colcon", "test", "--base-paths", *paths, "--packages-select", "vla_policy", *chosen,
        cwd=folder, env=tested)  # fmt: skip
    line = ["env", "colcon", "test-result", "--verbose"]
    results = subprocess.run(line, cwd=folder, env=tested, capture_output=True, text=True)
    summary, names = read_results(results.stdout)
    if results.returncode != 0:
        print(results.stdout, file=sys.stderr)
        raise Failed(f"colcon test ({test}): {summary}; {', '.join(names) or results.stderr}")
    say(f"colcon test ({test}): {summary}")
    start_mock(folder, sourced(folder, env))


def read_results(text: str) -> tuple[str, list[str]]:
    """The last line of `colcon test-result --verbose`, and the tests that did not pass."""
    lines = text.strip().splitlines() or ["no result"]
    return lines[-1], [line.removeprefix("- ") for line in lines if line.startswith("- ")]


def lacking(venv: Path, source: Path) -> list[str]:
    """Folders of the message packages of interfaces/ that the wheels do not have."""
    names = sorted(p.parent.name for p in (source / "interfaces").glob("*/package.xml"))
    line = f"from importlib.util import find_spec as f; print(*[n for n in {names} if not f(n)])"
    found = run(venv / "bin" / "python", "-c", line, env={}).split()
    return [f"src/vla_policy/interfaces/{name}" for name in found]


def sourced(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """env with the workspace's setup file sourced."""
    line = f". {folder}/install/setup.sh && env -0"
    lines = run("sh", "-c", line, env={"COLCON_CURRENT_PREFIX": f"{folder}/install", **env})
    found = dict(one.split("=", 1) for one in lines.split("\0") if "=" in one)
    library = folder / "install" / "vla_policy" / "lib" / "vla_policy"
    return found | {"PATH": f"{library}:{found['PATH']}"}


def start_mock(folder: Path, env: Mapping[str, str]) -> None:
    """`ros2 launch` of a mock where there is one, else the same nodes by `vla up`; `vla stop` must reach them."""
    with_launch = subprocess.run(["which", "ros2"], env=env, capture_output=True).returncode == 0
    line = ["vla", "up", "vx300s", "--mock", "--web-port", "0", "--namespace", SPACE]
    if with_launch:
        options = ["sim:=mock", "web_port:=0", f"namespace:={SPACE}"]
        line = ["ros2", "launch", "vla_policy", "vx300s.launch.py", *options]
    with Running(line, folder, env):
        ends_s = time.monotonic() + READY_S
        while True:
            try:
                said = run("vla", "stop", "--namespace", SPACE, cwd=folder, env=env)
                break
            except Failed:
                if time.monotonic() > ends_s:
                    raise
        say(f"{' '.join(line)}: {said.strip().splitlines()[0]}")


class Running:
    """A program that runs until the with block ends, with Ctrl-C at the end."""

    def __init__(self, line: list, cwd: Path, env: Mapping[str, str]) -> None:
        self._line, self._cwd, self._env = [str(word) for word in line], cwd, dict(env)
        self._said: list[str] = []

    def __enter__(self) -> Running:
        # Found in the environment that it gets, not in ours.
        self._process = subprocess.Popen(
            ["env", *self._line], cwd=self._cwd, env=self._env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(2)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise Failed(f"{' '.join(self._line[:3])}: does not end with Ctrl-C") from None

    def _read(self) -> None:
        self._said.extend(iter(self._process.stdout.readline, ""))

    def wait_for(self, words: str, seconds: float) -> str:
        """The first line that has words. Raises Failed if none comes."""
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s and self._process.poll() is None:
            for line in list(self._said):
                if words in line:
                    return line
            time.sleep(0.1)
        raise Failed(
            f"{' '.join(self._line[:3])}: {' / '.join(self._said[-3:]).strip() or 'nothing'}"
        )


def run(*words: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Standard output. Raises Failed with the last lines of what did not work."""
    line = ["env", *map(str, words)]
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        last = " / ".join((done.stdout + done.stderr).strip().splitlines()[-4:])
        raise Failed(f"{' '.join(line[1:4])}: {last}")
    return done.stdout


def say(words: str) -> None:
    """A line for who waits."""
    print(f"ok      {words}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
