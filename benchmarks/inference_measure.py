"""Timing for benchmarks/inference.py: alternating rounds, ratios within a round, and where it all ran."""

import datetime
import json
import platform
import random
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import transformers

from vla_policy.models.engine.linear import Linear, Packed, Plain
from vla_policy.models.roofline import DEVICES, Accelerator

Clock = Callable[[], float]
# The processor's own time is what a call would take alone, on a machine that others use at the same time.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}
NAMED = {
    "H200": "H200",
    "H100": "H100",
    "4090": "RTX 4090",
    "Thor": "Jetson Thor",
    "Orin": "Jetson Orin",
}


def rounds_of(
    calls: dict[str, Callable], device: str, rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call in each round; the order changes from round to round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            times[name].append(timed(calls[name], device, clock)[1])
    return times


def timed(
    call: Callable, device: str = "cpu", clock: Clock = time.perf_counter
) -> tuple[object, float]:
    """What call gives, and its seconds."""
    _wait(device)
    start = clock()
    result = call()
    _wait(device)
    return result, clock() - start


def products_alone(call: Callable[[], object]) -> Callable[[], None]:
    """The products of prepared weights that call does, one after another on random rows, and nothing between them.

    The least that call could take on this device with these products, if norms, activations, attention and
    everything else cost nothing.
    """
    done: list[tuple[Linear, tuple[int, ...], torch.dtype]] = []
    inside: list[bool] = []

    def noted(method: Callable) -> Callable:
        def note(self: Linear, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
            if not inside:
                done.append((self, tuple(x.shape), x.dtype))
            inside.append(True)
            try:
                return method(self, x, *rest)
            finally:
                inside.pop()

        return note

    with ExitStack() as patches:
        for kind in (Plain, Packed):
            for name in ("__call__", "gelu", "times", "plus"):
                patches.enter_context(patch.object(kind, name, noted(getattr(kind, name))))
        call()
    rows = {(shape, dtype): torch.randn(shape).to(dtype) for _, shape, dtype in done}

    def products() -> None:
        for product, shape, dtype in done:
            product(rows[shape, dtype])

    return products


def ratios(times: dict[str, list[float]], to: str) -> dict[str, dict[str, float]]:
    """How many times longer each takes than `to`, within the same round."""
    return {
        name: spread([t / own for t, own in zip(values, times[to], strict=True)])
        for name, values in times.items()
        if name != to
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, p10, p90 and p99."""
    names = ("median", "p10", "p90", "p99")
    return {
        n: round(float(v), 3)
        for n, v in zip(names, np.percentile(values, (50, 10, 90, 99)), strict=True)
    }


def peak_memory(call: Callable, device: str) -> float:
    """Gigabytes that torch had allocated at most during one call, all models of the run included."""
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2)


def roofline_device(device: str) -> Accelerator | None:
    """The known device that this one is."""
    name = torch.cuda.get_device_name(device) if device != "cpu" else machine()
    wanted = next((v for k, v in NAMED.items() if k in name), None)
    return next((d for d in DEVICES if d.name == wanted), None)


def resumed(report: dict, path: Path | None) -> dict:
    """The report at path with this command added to its own, if it was made on the same machine and versions."""
    if path is None or not path.is_file():
        return report
    earlier = json.loads(path.read_text())
    if different := [
        k for k in report if k not in ("command", "date") and report[k] != earlier.get(k)
    ]:
        raise ValueError(f"{path}: not of this kind of run: {', '.join(different)} differ")
    return earlier | {
        "command": f"{earlier['command']}; {report['command']}",
        "date": report["date"],
    }


def save(report: dict, path: Path | None) -> None:
    """Write what is there so far: a run that is cut short leaves the cases that it did."""
    if path is not None:
        path.write_text(json.dumps(report, indent=2) + "\n")


def header(device: str, threads: int, clock: str = "wall") -> dict:
    """Where, when and with what."""
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": threads,
        "clock": clock,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} logical cores"


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
