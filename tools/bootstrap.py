"""Everything between a fresh clone and a built package; a second call takes well under a second.

    python3 tools/bootstrap.py            # environment, ROS, build
    python3 tools/bootstrap.py --browser  # and a browser, in which the tests open the operator's page
    python3 tools/bootstrap.py --no-ros   # environment for tests without ROS

With a ROS installation sourced (ROS_DISTRO is set) that one is used, in .venv-<distro>; else ROS 2
Kilted comes from PyPI wheels into .venv. Only the standard library is used here. Each step keeps a
stamp of what it depended on; steps that are up to date are skipped. All output goes to log/setup.log.
"""

import argparse
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "log" / "setup.log"
PYTHONS = ((3, 10), (3, 14))
TORCH = "torch==2.13.0"
GYM_ALOHA = "gym-aloha==0.1.5"
OPENPI_CLIENT = "openpi-client==0.1.2"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """A sentence that says what is wrong and what to do."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-ros", action="store_true", help="leave ROS out")
    parser.add_argument("--browser", action="store_true", help="for the tests of the page")
    args = parser.parse_args()
    try:
        set_up(with_ros=not args.no_ros)
        if args.browser:
            browser()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def set_up(*, with_ros: bool) -> None:
    distro = os.environ.get("ROS_DISTRO")
    check_python()
    if with_ros and not distro:
        check_machine()
    venv = ROOT / (f".venv-{distro}" if distro else ".venv")
    system_packages(compiler=with_ros)
    create_venv(venv, system_site=bool(distro))
    install_python_packages(venv, distro)
    if not with_ros:
        return
    if distro:
        install_ros_dependencies(venv, distro)
    else:
        install_ros_wheels(venv)
    build(venv, distro)


def check_python() -> None:
    version = sys.version_info[:2]
    if not PYTHONS[0] <= version <= PYTHONS[1] or sys.implementation.name != "cpython":
        raise SetupError(
            f"got {platform.python_implementation()} {version[0]}.{version[1]} at {sys.executable}, "
            "expected CPython 3.10 to 3.14. Name another one: make demo PYTHON=python3.12"
        )


def check_machine() -> None:
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise SetupError(
            f"got {machine}; ROS 2 wheels exist for Linux x86_64 only. Install ROS 2 Jazzy or Kilted "
            "(https://docs.ros.org), source its setup file, and run this again: it will be used."
        )


def system_packages(*, compiler: bool) -> None:
    """Compiler (needed) and GL (rendering is faster with it): by apt where we may, else say how."""
    needed = [("g++", "g++"), ("cmake", "cmake"), ("make", "make")] if compiler else []
    missing = [package for program, package in needed if not shutil.which(program)]
    gl = [p for lib, p in (("libEGL.so.1", "libegl1"), ("libGL.so.1", "libgl1")) if not loads(lib)]
    venv = [] if has_ensurepip() else [f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"]
    packages = [*missing, *gl, *venv]
    if not packages:
        return
    line = apt_line(packages)
    failed = ""
    if may_apt():
        if apt(packages):
            return
        failed = f" (apt-get failed, see {LOG})"
    if missing or venv:
        raise SetupError(f"{' and '.join([*missing, *venv])} missing{failed}. Run: sudo {line}")
    # Only GL is missing: the simulation then draws with its own ray caster on the CPU.
    say(f"no {' and '.join(gl)}{failed}; cameras are drawn by the slower CPU ray caster. "
        f"To change that: sudo {line}")  # fmt: skip


def browser() -> None:
    """Chromium where there is no browser: by apt where we may, else say how.

    Ubuntu's package of that name only points at its snap, which containers cannot run; it is left alone.
    """
    if any(shutil.which(program) for program in BROWSERS):
        return
    packages = ["chromium", "fonts-dejavu-core"]
    if may_apt() and distribution() == "debian" and apt(packages):
        return
    say(f"no browser ({', '.join(BROWSERS)}): tests of the operator's page will be skipped. "
        f"To change that: sudo {apt_line(packages)}")  # fmt: skip


def may_apt() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_line(packages: "list[str]") -> str:
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def apt(packages: "list[str]") -> bool:
    say(f"system packages: {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], env=environment, check=False)
    return run(apt_line(packages).split(), env=environment, check=False) == 0


def distribution() -> str:
    try:
        return platform.freedesktop_os_release()["ID"]
    except (OSError, KeyError):
        return ""


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def has_ensurepip() -> bool:
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return False
    return True


def create_venv(venv: Path, *, system_site: bool) -> None:
    python = venv / "bin" / "python"
    if python.exists():
        got = subprocess.run(
            [python, "-c", VERSION_LINE], capture_output=True, text=True
        ).stdout.strip()
        if PYTHONS[0] <= tuple(int(n) for n in got.split(".") if n) <= PYTHONS[1]:
            return
        raise SetupError(
            f"{venv} does not work (its Python answers {got!r}). Remove it: rm -r {venv}"
        )
    say(f"virtual environment {venv.name} (Python {platform.python_version()})")
    run(
        [
            sys.executable,
            "-m",
            "venv",
            *(["--system-site-packages"] if system_site else []),
            str(venv),
        ]
    )
    if sys.version_info < (3, 11):
        # Its own, 23.0, searches for half an hour among versions that need a newer Python.
        pip(venv, "--upgrade", "pip")


VERSION_LINE = "import sys; print('%d.%d' % sys.version_info[:2])"


def install_python_packages(venv: Path, distro: "str | None") -> None:
    files = [
        requirements(n) for n in ("runtime", "data", "simulation", "train", "web", "serve", "test")
    ]
    stamp = Stamp(venv, "python", [TORCH, GYM_ALOHA, OPENPI_CLIENT, *files])
    if stamp.current():
        return
    # First and by exact version, so that nothing later pulls another one.
    say(f"{TORCH} (the largest download)")
    pip(venv, TORCH, *torch_index())
    say("Python packages: models, simulation, tests")
    constraints = []
    if distro:  # The installation's compiled modules (cv_bridge) need its own NumPy.
        held = venv / "constraints.txt"
        held.write_text("".join(f"{line}\n" for line in system_numpy()))
        constraints = ["-c", str(held)]
    pip(venv, *constraints, *[a for f in files for a in ("-r", str(f))])
    # Only its meshes are read; its own pins contradict a present-day MuJoCo.
    pip(venv, "--no-deps", GYM_ALOHA)
    # Its client alone is run, by the tests; its pins are of an older NumPy.
    pip(venv, "--no-deps", OPENPI_CLIENT)
    stamp.write()


def torch_index() -> "list[str]":
    """PyTorch's CPU wheels where there is no NVIDIA driver: a tenth of the download."""
    if shutil.which("nvidia-smi") or os.environ.get("PIP_FIND_LINKS"):
        return []
    probe = f"import urllib.request as r; r.urlopen('{CPU_WHEELS}/torch/', timeout=5)"
    reachable = subprocess.run([sys.executable, "-c", probe], capture_output=True).returncode == 0
    return ["--extra-index-url", CPU_WHEELS] if reachable else []


def system_numpy() -> "list[str]":
    line = "import numpy; print('numpy==' + numpy.__version__)"
    got = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True)
    return [got.stdout.strip(), "opencv-python-headless<4.11"] if got.returncode == 0 else []


def install_ros_wheels(venv: Path) -> None:
    wheels = requirements("ros-wheels")
    stamp = Stamp(venv, "ros", [wheels])
    if stamp.current():
        return
    say("ROS 2 Kilted from PyPI wheels")
    pip(venv, "-r", str(wheels))
    rewrite_build_paths(venv)
    stamp.write()


def rewrite_build_paths(venv: Path) -> None:
    """The wheels name two folders of the machine they were built on; name this one's instead."""
    tag = "cp{}{}".format(*sys.version_info)
    built = f"/opt/python/{tag}-{tag}"
    dotted = "{}.{}".format(*sys.version_info)
    line = "import sysconfig, numpy; print(sysconfig.get_path('include'), numpy.get_include(), sep='\\n')"
    include, numpy_include = output([venv / "bin" / "python", "-c", line]).split("\n")
    for path in (venv / "share").rglob("*.cmake"):
        text = path.read_text()
        here = text.replace(f"{built}/include/python{dotted}", include).replace(
            f"{built}/lib/python{dotted}/site-packages/numpy/_core/include", numpy_include
        )
        if here != text:
            path.write_text(here)


def install_ros_dependencies(venv: Path, distro: str) -> None:
    stamp = Stamp(venv, "rosdep", [ROOT / "package.xml"])
    if stamp.current():
        return
    if not shutil.which("colcon"):
        pip(venv, "colcon-common-extensions>=0.3")
    line = f"rosdep install --from-paths {ROOT} --ignore-src --rosdistro {distro} -y"
    say(f"ROS 2 {distro} is sourced; packages by rosdep")
    if not shutil.which("rosdep") or run(line.split(), check=False) != 0:
        say(f"rosdep did not finish (see {LOG}); if something is missing below, run: {line}")
        return
    stamp.write()


def build(venv: Path, distro: "str | None") -> None:
    """colcon build with links to the sources: edits are live, new files need another build."""
    names = [
        str(p.relative_to(ROOT))
        for d in ("vla_policy", "launch", "config")
        for p in files_in(ROOT / d)
    ]
    interfaces = [p for d in ("msg", "srv", "action", "interfaces") for p in files_in(ROOT / d)]
    lacking = [] if distro else lacking_interfaces(venv)
    described = [
        ROOT / "CMakeLists.txt",
        ROOT / "package.xml",
        ROOT / "tools" / "executable.py.in",
    ]
    stamp = Stamp(
        ROOT / "install", "build", [str(venv), *lacking, *sorted(names), *described, *interfaces]
    )
    if stamp.current():
        return
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHOME"}
    environment.update(
        VIRTUAL_ENV=str(venv), PATH=f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"
    )
    if not distro:
        environment.update(AMENT_PREFIX_PATH=str(venv), CMAKE_PREFIX_PATH=str(venv))
    built_with = ROOT / "build" / ".python"
    if built_with.exists() and built_with.read_text() != str(venv):
        shutil.rmtree(ROOT / "build")
        shutil.rmtree(ROOT / "install", ignore_errors=True)
    also = f" and {', '.join(lacking)}" if lacking else ""
    say(f"building messages and the package{also} (colcon)")
    paths = ["--base-paths", ".", *[f"interfaces/{name}" for name in lacking]]
    run(["colcon", "build", "--symlink-install", *paths], env=environment)
    built_with.write_text(str(venv))
    stamp.write()


def lacking_interfaces(venv: Path) -> "list[str]":
    """Packages of interfaces/ that the wheels do not have: built from the definitions there.

    Asked of the environment alone, so that what was built here before does not count as found.
    """
    names = sorted(p.parent.name for p in (ROOT / "interfaces").glob("*/package.xml"))
    line = f"from importlib.util import find_spec as f; print(*[n for n in {names} if not f(n)])"
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    found = subprocess.run(
        [venv / "bin" / "python", "-c", line], capture_output=True, text=True, env=clean
    )
    return found.stdout.split()


def files_in(folder: Path) -> "list[Path]":
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def requirements(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


class Stamp:
    """Remembers under folder/.stamps what a step depended on: texts, and the content of files."""

    def __init__(self, folder: Path, step: str, inputs: list):
        self.path = folder / ".stamps" / step
        digest = hashlib.sha256()
        for item in (repr(sys.version_info[:2]), *inputs):
            digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
            digest.update(b"\0")
        self.digest = digest.hexdigest()

    def current(self) -> bool:
        return self.path.exists() and self.path.read_text() == self.digest

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.digest)


def pip(venv: Path, *arguments: str) -> None:
    run(
        [
            str(venv / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            *arguments,
        ]
    )


def output(command: list) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(command: list, *, env: "dict | None" = None, check: bool = True) -> int:
    """Run with all output to the log; on failure raise SetupError with its last lines."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        start = log.tell()
        try:
            code = subprocess.run(command, cwd=ROOT, env=env, stdout=log, stderr=log).returncode
        except FileNotFoundError:
            code = 127
            log.write(f"{command[0]}: not found\n")
    if check and code != 0:
        tail = LOG.read_text(errors="replace")[start:].strip().splitlines()[-12:]
        raise SetupError(f"this failed, with the end of its output (all of it: {LOG}):\n"
                         f"  {' '.join(command)}\n    " + "\n    ".join(tail))  # fmt: skip
    return code


def say(text: str) -> None:
    print(f"[setup {time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
