"""Python, ROS and packages: facts, and problems with their fixes."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from vla_policy import __version__
from vla_policy.check.doctor.domains import (
    DISCOVERY_RANGE,
    DOMAIN_ID,
    LAST_CLEAR,
    LOCALHOST_ONLY,
    chosen_domain,
)
from vla_policy.check.doctor.fast_dds import FAST_DDS, PROFILES, ROOMY, TRANSPORTS
from vla_policy.check.doctor.machine import FACT, HINT, PROBLEM, Note, probe

PACKAGES = ("numpy", "torch", "transformers", "tokenizers", "safetensors", "mujoco", "gym-aloha",
            "opencv-python-headless", "opencv-python", "pillow", "PyYAML", "jaxtyping", "rich",
            "aiohttp")  # fmt: skip
NEEDED = ("numpy", "torch", "tokenizers", "safetensors", "PyYAML", "jaxtyping")
# Packages that only some ROS installations have -> what does not work without them.
OPTIONAL = {
    "launch_ros": "launch files; `vla up` runs the same nodes",
    "tf2_ros": "tool poses from tf2 (ee_pose: tf_frame)",
    "control_msgs": "gripper actions (gripper_command, parallel_gripper_command)",
    "moveit_msgs": "MoveIt Servo (servo_twist, servo_pose)",
}
RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
RMW_PROBE = "import rclpy; print(rclpy.get_rmw_implementation_identifier())"


def python() -> Iterator[Note]:
    """Interpreter and this package."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Note(FACT, f"Python {version} at {sys.executable}")
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        yield Note(PROBLEM, f"Python {version}, expected 3.10 to 3.14", "make demo PYTHON=python3.12")  # fmt: skip
    where = Path(__file__).resolve().parent.parent
    yield Note(FACT, f"vla_policy {__version__} from {where}")
    if importlib.util.find_spec("vla_policy.msg") is None:
        yield Note(
            HINT,
            "the ROS messages of vla_policy are not built: nodes, `vla up` and `vla demo` do not run",
            "`make setup`, then `. tools/env.sh`",
        )


def packages() -> Iterator[Note]:
    """Versions of the packages for models, data and simulation."""
    found = {name: _version(name) for name in PACKAGES}
    yield Note(FACT, ", ".join(f"{n} {v}" for n, v in found.items() if v))
    for name in NEEDED:
        if found[name] is None:
            yield Note(PROBLEM, f"no {name}", f"`make setup`, or pip install {name}")
    if found["opencv-python"] and found["opencv-python-headless"]:
        yield Note(
            HINT,
            "opencv-python and opencv-python-headless overwrite each other's files",
            "pip uninstall both, then pip install opencv-python-headless",
        )
    if found["numpy"] and int(found["numpy"].partition(".")[0]) >= 2 and _version("cv-bridge"):
        yield Note(
            HINT,
            "cv_bridge from PyPI is ROS 1's and does not work with NumPy 2",
            "pip uninstall cv-bridge; it is not used here",
        )


def ros() -> Iterator[Note]:
    """Which ROS distribution, and whether rclpy can be imported."""
    distro, wheel = os.environ.get("ROS_DISTRO"), _version("ros-rclpy")
    if importlib.util.find_spec("rclpy") is None:
        yield Note(
            HINT,
            "no ROS 2 in this environment: models and training work, nodes do not",
            "`make setup` brings ROS 2 by pip; or source an installation (Jazzy, Kilted) and run it again",
        )
        return
    source = f"ROS 2 {distro}" if distro else f"ROS 2 from wheels, rclpy {wheel}"
    yield Note(FACT, source)
    if distro and wheel:
        yield Note(
            PROBLEM,
            f"ROS 2 {distro} is sourced, and there are wheels of another one in this environment",
            "Use one: `make setup` in a new shell with ROS sourced makes an environment of its own",
        )
    works, said = probe([sys.executable, "-c", RMW_PROBE])
    if works:
        yield Note(FACT, f"middleware {said}")
    else:
        yield Note(
            PROBLEM,
            f"rclpy does not load: {said}",
            "Unset RMW_IMPLEMENTATION, or install what it names; `. tools/env.sh` in a new shell",
        )
    missing = {n: cost for n, cost in OPTIONAL.items() if importlib.util.find_spec(n) is None}
    for name, cost in missing.items():
        apt = f"sudo apt-get install ros-{distro}-{name.replace('_', '-')}"
        cure = apt if distro else "It comes with a ROS installation; there is no wheel of it"
        yield Note(HINT, f"no {name}: without it no {cost}", cure)


def discovery(env: Mapping[str, str]) -> Iterator[Note]:
    """Which machines exchange messages."""
    reach = env.get(DISCOVERY_RANGE, "")
    told = reach or "SUBNET, the default"
    yield Note(
        FACT, f"{DOMAIN_ID} {env.get(DOMAIN_ID) or '0, the default'}; discovery range {told}"
    )
    try:
        domain = chosen_domain(env)
    except ValueError as error:
        yield Note(
            PROBLEM, str(error), f"A number from 0 to {LAST_CLEAR}, the same on all machines"
        )
    else:
        if domain is not None and domain > LAST_CLEAR:
            yield Note(
                HINT,
                f"the ports of {DOMAIN_ID} {domain} are among those that Linux gives to others",
                f"Take one from 0 to {LAST_CLEAR}",
            )
    if reach and reach not in RANGES:
        yield Note(PROBLEM, f"{DISCOVERY_RANGE} is {reach!r}", f"One of {', '.join(RANGES)}")  # fmt: skip
    elif reach == "OFF":
        yield Note(PROBLEM, "discovery is OFF: nodes do not find each other", f"unset {DISCOVERY_RANGE}")  # fmt: skip
    elif reach == "LOCALHOST":
        yield Note(
            HINT,
            "discovery is LOCALHOST: a robot on another machine is not heard",
            f"{DISCOVERY_RANGE}=SUBNET, if that is what you want",
        )
    if env.get(LOCALHOST_ONLY) == "1":
        yield Note(
            HINT,
            f"{LOCALHOST_ONLY}=1: a robot on another machine is not heard; it overrides the newer variable",
            f"unset {LOCALHOST_ONLY}; see {DISCOVERY_RANGE}",
        )
    for name in PROFILES:
        if name in env and not Path(env[name]).is_file():
            yield Note(PROBLEM, f"{name}: no file {env[name]}", f"Correct it, or unset {name}")


def large_pictures(env: Mapping[str, str]) -> Iterator[Note]:
    """Whether a camera driver started from this shell can send whole images."""
    chosen = [name for name in (TRANSPORTS, *PROFILES) if name in env]
    if env.get("RMW_IMPLEMENTATION", FAST_DDS) not in (FAST_DDS, "rmw_fastrtps_dynamic_cpp"):
        return
    if env.get(DISCOVERY_RANGE) == "LOCALHOST":
        yield Note(
            HINT,
            "LOCALHOST: Fast DDS keeps to 0.5 MB of shared memory and drops images larger than that",
            f"{DISCOVERY_RANGE}=SUBNET in a domain of its own, or compressed topics",
        )
    elif chosen:
        yield Note(FACT, ", ".join(f"{name}={env[name]}" for name in chosen))
    else:
        yield Note(
            HINT,
            "a camera driver started here drops images above 0.5 MB; this package's own nodes do not",
            f"Where drivers start: export {TRANSPORTS}='{ROOMY}'",
        )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
