"""Several robots on one policy: how many requests a second, and how evenly they are served.

The shipped `tiny` and a small pi0 with random weights, each behind `vla serve`: one request at a time (--batch 1), in
batches, and, where ray is installed, as two copies under Ray Serve (--copies 2). Robots ask as soon as they are answered.
The arrangements take turns, so that all see the same machine; figures are ratios of one run. At most five minutes.

. tools/env.sh && python benchmarks/serve_robots.py --out benchmarks/serve_robots.json
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from inference_cases import random_model, sized
from serve import about, finish, seen

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.families.pi0 import Pi0Settings, Pi0Statistics
from vla_policy.formats.native.folder import save
from vla_policy.models.config import GemmaConfig, ModelConfig, SiglipConfig
from vla_policy.models.text import load_text_tokenizer
from vla_policy.policy import load_policy
from vla_policy.runtime.policy_protocol import Unavailable

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "helpers"))

from pi0_folders import characters

FAIR = 1.2
FEWEST = 60  # requests of the slowest robot: with fewer, one request more or less is a share that counts
MAIN = "import sys; from vla_policy.cli import main; sys.exit(main())"
COLUMNS = (*(f"joint.{i}" for i in range(6)), "gripper")
START_S = 180.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", default="tiny,pi0")
    parser.add_argument("--robots", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a round")
    parser.add_argument(
        "--longest", type=float, default=110.0, help="s that a policy is asked, if that is more rounds"
    )  # fmt: skip
    parser.add_argument("--copies", type=int, default=2, help="0 leaves Ray out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with_ray = args.copies > 0 and find_spec("ray") is not None
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.policies.split(","):
            path = name if name == "tiny" else small_pi0(Path(folder) / name)
            rows[name] = measure(str(path), args, with_ray)
            print(name, rows[name], flush=True)
    report = about()
    if with_ray:
        report["versions"]["ray"] = version("ray")
    met = {
        f"slowest_to_fastest, {name}, {way}": r["slowest_to_fastest"] <= FAIR
        for name, row in rows.items() for way, r in row["arrangements"].items()
    }  # fmt: skip
    report |= {
        "robots": args.robots, "seconds": args.seconds, "bounds": {"slowest_to_fastest": FAIR},
        "left_out": None if with_ray else "copies under Ray Serve: ray is not installed",
        "met": met, "passed": all(met.values()),
        "policies": rows,
    }  # fmt: skip
    return finish(report, args.out)


def small_pi0(folder: Path) -> Path:
    """A checkpoint folder of pi0's form with random weights, small enough for two processors."""
    config = small(sized("pi0", "small"))
    contract = Contract(
        ("front", "wrist"), config.vision.image_px, COLUMNS, COLUMNS, COLUMNS,
        (("arm", "joint_position"), ("hand", "gripper")), 20.0, ("played",),
    )  # fmt: skip
    plain = {"mean": np.zeros(len(COLUMNS)), "std": np.ones(len(COLUMNS))}
    state, actions = (
        Normalizer(what, COLUMNS, "mean_std", plain) for what in ("state", "actions")
    )
    folder.mkdir()
    tokenizer = load_text_tokenizer(characters(folder.parent / "tokenizer.json"))
    model = random_model(config, torch.float32, "cpu")
    save(
        folder,
        Checkpoint(
            model, contract, Pi0Statistics(state, actions), tokenizer, family="pi0",
            settings=Pi0Settings(slots=contract.camera_names),
        ),
    )  # fmt: skip
    return folder


def small(config: ModelConfig) -> ModelConfig:
    """config at a quarter of its width and image: some 12 million parameters."""
    geometry = {"depth": 4, "heads": 4, "kv_heads": 1, "head_dim": 64}
    return replace(
        config,
        vocab=500,
        language=GemmaConfig(width=256, mlp=1024, **geometry),
        vision=SiglipConfig(112, 14, 144, 6, 576, 4),
        flow=replace(config.flow, expert=GemmaConfig(width=128, mlp=512, **geometry)),
    )


def measure(policy: str, args: argparse.Namespace, with_ray: bool) -> dict[str, object]:
    """Every arrangement in turns."""
    ways = {"one at a time": ("--batch", "1"), "batches": ("--batch", str(args.robots))}
    if with_ray:
        ways[f"{args.copies} copies"] = ("--batch", str(args.robots), "--copies", str(args.copies))
    with contextlib.ExitStack() as stack:
        served = {n: stack.enter_context(Verb(policy, *options)) for n, options in ways.items()}
        fleets = {n: stack.enter_context(Fleet(a, args.robots)) for n, a in served.items()}
        alone = stack.enter_context(Fleet(served["one at a time"], 1))
        asked_s, done = 0.0, 0
        while done < args.rounds or (
            min(f.fewest for f in fleets.values()) < FEWEST
            and asked_s + args.seconds * len(fleets) <= args.longest
        ):
            for fleet in [*fleets.values(), *([alone] if done < args.rounds else [])]:
                fleet.ask(args.seconds)
                asked_s += args.seconds
            done += 1
        first = fleets["one at a time"].report()["requests_per_s"]
        return {
            "rounds": done,
            "one robot": alone.report(),
            "arrangements": {
                name: {
                    **fleet.report(),
                    "to_one_at_a_time": round(fleet.report()["requests_per_s"] / first, 2),
                }
                for name, fleet in fleets.items()
            },
        }


class Verb:
    """`vla serve` as it is used; its address."""

    def __init__(self, policy: str, *options: str) -> None:
        self._line = [sys.executable, "-c", MAIN, "serve", policy, "--port", "0", *options]

    def __enter__(self) -> str:
        self._process = subprocess.Popen(
            self._line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        late = threading.Timer(START_S, self._process.kill)
        late.start()
        for line in self._process.stdout:
            if "--policy ws://" in line:
                late.cancel()
                threading.Thread(target=self._process.stdout.read, daemon=True).start()
                return line.split()[-1]
        raise RuntimeError(f"{' '.join(self._line[2:])}: ended with {self._process.wait()}")

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(60)


class Fleet:
    """Robots on one server, that ask together for some seconds at a time."""

    def __init__(self, address: str, robots: int) -> None:
        self._address, self._robots = address, robots
        self._counts, self._refused, self._asked_s = [0] * robots, 0, 0.0
        self._latencies_s: list[float] = []

    def __enter__(self) -> "Fleet":
        self._policies = [load_policy(self._address) for _ in range(self._robots)]
        return self

    def __exit__(self, *_) -> None:
        for policy in self._policies:
            policy.close()

    @property
    def fewest(self) -> int:
        """Requests of the slowest robot so far."""
        return min(self._counts)

    def ask(self, seconds: float) -> None:
        """All robots, each again as soon as it is answered; an answer that comes after the end does not count."""
        begin = threading.Barrier(self._robots)
        threads = [
            threading.Thread(target=self._ask, args=(i, begin, seconds))
            for i in range(self._robots)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._asked_s += seconds

    def _ask(self, index: int, begin: threading.Barrier, seconds: float) -> None:
        policy = self._policies[index]
        observation = seen(policy.contract, (policy.contract.image_px,) * 2, index)
        begin.wait()
        ends_s = time.monotonic() + seconds
        while (started_s := time.monotonic()) < ends_s:
            try:
                policy.infer(observation)
            except Unavailable:
                self._refused += 1
                time.sleep(0.02)
                continue
            if time.monotonic() < ends_s:
                self._counts[index] += 1
                self._latencies_s.append(time.monotonic() - started_s)

    def report(self) -> dict[str, float]:
        """Of all rounds."""
        counts = self._counts
        return {
            "requests_per_s": round(sum(counts) / self._asked_s, 2),
            "slowest_to_fastest": round(max(counts) / max(1, min(counts)), 3),
            "requests_of_slowest": min(counts),
            "p50_ms": round(1e3 * float(np.median(self._latencies_s)), 1),
            "p99_ms": round(1e3 * float(np.percentile(self._latencies_s, 99)), 1),
            "refused": self._refused,
        }


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
