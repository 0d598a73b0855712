"""The real nodes around a mock robot and the model of played_policy.py: what the measurements of the graph share."""

import datetime
import os
import platform
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from vla_policy.paths import config_dir
from vla_policy.ros.bringup.graph import NodeSpec, command_line
from vla_policy.ros.bringup.processes import Processes

READY_S = 120.0
INSTRUCTION = "pick up the red cube"


def described(folder: Path, name: str, changes: dict[str, str]) -> str:
    """Path of vx300s under another name, with pieces of its file replaced.

    Raises ValueError if a piece is not in the file.
    """
    text = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
    for old, new in {"name: vx300s\n": f"name: {name}\n", **changes}.items():
        if old not in text:
            raise ValueError(f"vx300s.yaml: no {old!r} in it")
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def start(specs, work: str, log, **parameters) -> Processes:
    """The nodes as processes; work: as PLAYED_WORK. parameters: of the policy node. log: a file."""

    def command(spec: NodeSpec) -> list[str]:
        line = command_line(spec)
        if spec.name == "policy":
            line[1] = str(Path(__file__).with_name("played_policy.py").resolve())
            for name, value in parameters.items():
                line += ["-p", f"{name}:={value}"]
        return line

    # One thread: a busy policy is to keep one core busy, not all.
    environment = {"PLAYED_WORK": work, "OPENBLAS_NUM_THREADS": "1"}
    processes = Processes(
        lambda name, line: log.write(f"{name}: {line}\n"), environment=environment, command=command
    )
    processes.start(specs)
    return processes


def changed(specs, parameters: dict[str, dict]) -> list[NodeSpec]:
    """The nodes with other parameters: node -> parameter -> value."""
    return [
        replace(spec, parameters={**spec.parameters, **parameters.get(spec.name, {})})
        for spec in specs
    ]


def priority(lines: list[str]) -> str:
    """Of the control node, as it says it."""
    said = [line for line in lines if line.startswith("control: ") and " priority" in line]
    return said[-1].rpartition("[control]: ")[2].strip() if said else "ordinary"


def wait_until_ready(client) -> None:
    """Until the robot can be engaged; raises TimeoutError.

    Before that nobody may listen to its commands: a mock does not start where they are heard already.
    """
    if not (client.wait_for_control(READY_S) and client.wait_for_task(READY_S)):
        raise TimeoutError("the graph does not get ready")
    end = time.monotonic() + READY_S
    while True:
        try:
            client.engage()
            return
        except ValueError as error:
            if time.monotonic() > end:
                raise TimeoutError(f"the robot cannot be engaged: {error}") from error
        time.sleep(0.2)


def go_on(client, position, seconds: float, patience_s: float = 20.0) -> bool:
    """Engage, say an instruction for seconds, and wait for motion; whether there was some.

    position: a function of where the arm is, in m.
    """
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            client.engage()
            time.sleep(0.5)  # the task node must have read it too
            result = client.start(INSTRUCTION, seconds + 60.0)
        except (ValueError, TimeoutError):
            time.sleep(0.5)
            continue
        if result is None:
            continue
        before, limit = position(), min(end, time.monotonic() + 5.0)
        while time.monotonic() < limit:
            if abs(position() - before) > 0.003:
                return True
            time.sleep(0.05)
    return False


def heading(load_before: float) -> dict:
    """What every result file begins with."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, load {load_before:.1f} at the start, "
        f"{os.getloadavg()[0]:.1f} at the end",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


def summary(values, digits: int = 3) -> dict[str, float]:
    """p50, p99 and max."""
    found = np.percentile(np.asarray(values, dtype=float), (50, 99, 100)).round(digits).tolist()
    return dict(zip(("p50", "p99", "max"), found, strict=True))


def complaints(lines) -> dict[str, int]:
    """Warnings and errors of the nodes, numbers left out -> how often; the dozen most frequent."""
    found: dict[str, int] = {}
    for line in lines:
        if "[WARN]" in line or "[ERROR]" in line or "[FATAL]" in line:
            words = re.sub(r"-?\d+(\.\d+)?", "#", line)[:110]
            found[words] = found.get(words, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1])[:12])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
