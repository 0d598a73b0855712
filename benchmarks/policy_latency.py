"""Latency of one chunk on this machine, both heads of the shipped policy, one thread.

python benchmarks/policy_latency.py --out benchmarks/policy_latency.json
"""

import argparse
import datetime
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch

from vla_policy.policy import HEADS, load_policy
from vla_policy.types import Observation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "policy": args.policy,
        "calls": args.calls,
        "heads": {head: measure(args.policy, head, args.calls) for head in HEADS},
    }
    flow, token = (report["heads"][h]["p50_ms"] for h in HEADS)
    report["token_over_flow"] = round(token / flow, 2)
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def measure(policy_name: str, head: str, calls: int) -> dict[str, float]:
    """Milliseconds from observation to chunk, after ten calls to warm up."""
    policy = load_policy(policy_name, head=head)
    rng = np.random.default_rng(0)
    side = policy.contract.image_px
    times = []
    for i in range(calls + 10):
        observation = Observation(
            images={
                n: rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
                for n in policy.contract.camera_names
            },
            state=np.array([0.3, 0.0, 0.2, 0.0, 0.7071, 0.0, 0.7071, 0.5]),
            state_names=policy.contract.state_names,
            instruction="put the red cube in the tray",
            obs_ns=i,
        )
        start = time.perf_counter_ns()
        chunk = policy.infer(observation, seed=i)
        times.append((time.perf_counter_ns() - start) / 1e6)
    p50, p99 = np.percentile(times[10:], [50, 99])
    return {"p50_ms": round(p50, 1), "p99_ms": round(p99, 1), "rows": len(chunk.actions)}


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [
            x.split(":")[1].strip()
            for x in info.read_text().splitlines()
            if x.startswith("model name")
        ]
        if info.is_file()
        else []
    )
    return f"{names[0] if names else platform.processor()}, {len(names)} logical cores"


if __name__ == "__main__":
    main()
