"""Machine, GPU, OpenGL and shared memory: facts, and problems with their fixes."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FACT, HINT, PROBLEM = "fact", "hint", "problem"
GIB = 2**30
PROBE_S = 60.0


@dataclass(frozen=True, slots=True)
class Note:
    """level: FACT; HINT: could be better; PROBLEM: something will not work.

    cure: the fix of the last two.
    """

    level: str
    says: str
    cure: str = ""


def probe(program: list[str]) -> tuple[bool, str]:
    """Whether a program succeeds within a minute, and the last line of its output or errors."""
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, timeout=PROBE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer in {PROBE_S:g} s"
    except OSError as error:
        return False, str(error)
    text = done.stdout if done.returncode == 0 else done.stderr or done.stdout
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return done.returncode == 0, lines[-1].strip() if lines else f"exit code {done.returncode}"


def system() -> Iterator[Note]:
    """Operating system, processors, memory, load."""
    release = Path("/etc/os-release")
    named = dict(
        line.split("=", 1) for line in (release.read_text().splitlines() if release.is_file() else []) if "=" in line
    )  # fmt: skip
    name = named.get("PRETTY_NAME", platform.system()).strip('"')
    yield Note(FACT, f"{name}, kernel {platform.release()}, {platform.machine()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    yield Note(FACT, f"{cores} processors for this process, load {load:.1f}")
    if cores and load > cores:
        yield Note(
            HINT,
            f"load {load:.1f} on {cores} processors: simulation and control may miss their times",
            "End what else runs; `vla up` warns when the simulation is slower than its pace",
        )
    memory = _memory()
    if memory is not None:
        total, free = memory
        yield Note(FACT, f"{total / GIB:.1f} GiB memory, {free / GIB:.1f} free")
        if free < 2 * GIB:
            yield Note(HINT, "less than 2 GiB memory is free", "End what else runs")


def _memory() -> tuple[int, int] | None:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    kib = dict(line.split()[:2] for line in path.read_text().splitlines() if len(line.split()) > 1)
    return int(kib["MemTotal:"]) * 1024, int(kib["MemAvailable:"]) * 1024


def shared_memory(folder: Path = Path("/dev/shm"), least: int = 256 * 2**20) -> Iterator[Note]:
    """Shared memory, used by Fast DDS for images between processes and by PyTorch for batches."""
    if not folder.is_dir():
        yield Note(HINT, f"no {folder}", "Images go through the network stack, which is slower")
        return
    size = os.statvfs(folder).f_frsize * os.statvfs(folder).f_blocks
    left = sum(len(list(folder.glob(f"{name}_*"))) for name in ("fastrtps", "fastdds"))
    yield Note(FACT, f"shared memory {size / 2**20:.0f} MiB, {left} segments of Fast DDS")
    if size < least:
        yield Note(
            PROBLEM,
            f"shared memory is {size / 2**20:.0f} MiB: large images are dropped silently",
            "In Docker: `docker run --shm-size=1g` (or --ipc=host); else remount it larger",
        )
    if left > 500:
        yield Note(
            HINT,
            f"{left} segments of Fast DDS, left by processes that were killed",
            "With no ROS running: `rm /dev/shm/*fastdds_* /dev/shm/*fastrtps_*`",
        )


def receive_buffer(path: Path = Path("/proc/sys/net/core/rmem_max")) -> Iterator[Note]:
    """Images over the network arrive as many packets at once."""
    if not path.is_file():
        return
    size = int(path.read_text())
    yield Note(FACT, f"UDP receive buffer at most {size} bytes")
    if size < 2_000_000:
        yield Note(
            HINT,
            "the UDP receive buffer is smaller than a camera image; over a network, images are dropped",
            "On robot and computer: `sudo sysctl -w net.core.rmem_max=8388608`, or compressed topics",
        )


def gpu() -> Iterator[Note]:
    """NVIDIA driver, and whether PyTorch can use it."""
    driver = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]  # fmt: skip
        works, driver = probe(query)
        yield Note(FACT if works else PROBLEM, f"nvidia-smi: {driver}",
                   "" if works else "Load the driver (a reboot after its update), see `dmesg`")  # fmt: skip
        driver = driver if works else ""
    else:
        yield Note(FACT, "no NVIDIA driver")
    works, said = probe([sys.executable, "-c", TORCH_PROBE])
    if not works:
        yield Note(PROBLEM, f"PyTorch does not load: {said}", "`make setup`, or pip install torch")
        return
    version, cuda, devices = said.split("|")
    yield Note(
        FACT, f"PyTorch {version}, CUDA {cuda or 'not built in'}, {devices or 'no devices'}"
    )
    if driver and not devices:
        cure = "pip install torch from https://pytorch.org for this driver" if not cuda else (
            "The driver is too old for this CUDA, or CUDA_VISIBLE_DEVICES hides it")  # fmt: skip
        yield Note(PROBLEM, "a GPU is present, but PyTorch does not see it", cure)


TORCH_PROBE = (
    "import torch; n = torch.cuda.device_count() if torch.cuda.is_available() else 0; "
    "print(torch.__version__, torch.version.cuda or '', "
    "', '.join(torch.cuda.get_device_name(i) for i in range(n)), sep='|')"
)


def gl() -> Iterator[Note]:
    """Backends that can render the simulation's cameras."""
    works, said = probe([sys.executable, "-c", "import mujoco; print(mujoco.__version__)"])
    if not works:
        cure = "pip install mujoco && pip install --no-deps gym-aloha"
        yield Note(HINT, f"no simulation: MuJoCo does not load ({said})", cure)
        return
    found = []
    for name in ("egl", "osmesa"):
        line = f"from vla_policy.sim.world.render import choose_renderer; print(choose_renderer({name!r}))"
        if probe([sys.executable, "-c", line])[0]:
            found.append(name)
    yield Note(FACT, f"MuJoCo {said}; cameras can be drawn by {', '.join([*found, 'raycast'])}")
    if not found:
        yield Note(
            HINT,
            "no OpenGL: the simulation's cameras are drawn by the CPU ray caster",
            "sudo apt-get install libegl1 libgl1, or libosmesa6",
        )
