"""What a policy on another machine costs beside one in this process, and how several robots share one.

Overhead: p50 of a request over loopback minus p50 of the same `infer` here, for three cameras of 224 x 224 and of
640 x 480 pixels, raw and as JPEG. Robots: eight at a time against one, requests a second, and how evenly.

. tools/env.sh && python benchmarks/serve.py --out benchmarks/serve.json
"""

import argparse
import asyncio
import datetime
import json
import os
import platform
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.policy import load_policy
from vla_policy.remote.handshake import Offer
from vla_policy.remote.journal import Journal
from vla_policy.remote.server import Server
from vla_policy.remote.serving import Serving
from vla_policy.runtime.policy_protocol import PlainPolicy, Unavailable
from vla_policy.types import ActionChunk, Observation

BOUND_MS, FAIR = 3.0, 1.2
CAMERAS = ("front", "left", "wrist")
COLUMNS = tuple(f"joint.{i}" for i in range(7))
CONTRACT = Contract(
    CAMERAS, 224, COLUMNS, COLUMNS, COLUMNS, (("arm", "joint_position"),), 20.0, ("played",)
)
ROWS = 50


class Still(PlainPolicy):
    """Rows in no time: what is measured is the way to it and back."""

    rows, contract = ROWS, CONTRACT

    def infer_chunk(self, observation, previous, options):
        """The state, again and again."""
        rows = np.tile(observation.state, (ROWS, 1))
        return ActionChunk(
            rows, COLUMNS, observation.obs_ns, CONTRACT.step_ns, 0, observation.instruction
        )


def offer_of(policy, name: str) -> Offer:
    return Offer(
        name, "0", getattr(policy, "statistics_hash", ""), "", {}, policy.contract, policy.rows,
        getattr(policy, "square_px", None), {}, policy.head,
        policy.continues, policy.can_point, policy.can_answer, policy.understanding,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--robots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", choices=("still", "tiny"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    overhead = {}
    with Process("still") as address:
        for size in ((224, 224), (480, 640)):
            for jpeg in ("", "?jpeg=90"):
                name = f"3 x {size[1]} x {size[0]}{' JPEG' if jpeg else ''}"
                overhead[name] = overhead_ms(address + jpeg, size, args.calls)
                print(name, overhead[name], flush=True)
    with Process("tiny") as address:
        tiny = tiny_ms(address, args.calls // 4)
        alone = throughput(address, 1, args.seconds)
        many = throughput(address, args.robots, args.seconds)
    print(tiny, alone, many, flush=True)
    raw = [o["overhead_p50_ms"] for n, o in overhead.items() if "JPEG" not in n]
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "bounds": {"overhead_p50_ms": BOUND_MS, "slowest_to_fastest": FAIR},
        "passed": max(raw) <= BOUND_MS and many["slowest_to_fastest"] <= FAIR,
        "overhead": overhead,
        "tiny": tiny,
        "robots": {"1": alone, str(args.robots): many},
    }
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0 if report["passed"] else 1


class Process:
    """A server in a process of its own, as it is used."""

    def __init__(self, policy: str) -> None:
        self._policy = policy

    def __enter__(self) -> str:
        line = [sys.executable, __file__, "--serve", self._policy]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        return f"ws://127.0.0.1:{self._process.stdout.readline().strip()}"

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(20)


def serve(name: str) -> int:
    if name == "still":
        policy, many = Still(), None
    else:
        import torch

        torch.set_num_threads(1)
        policy = load_policy("tiny", head="flow")
        many = getattr(policy, "infer_many", None)
    server = Server(
        policy,
        offer_of(policy, name),
        Serving(port=0, token=os.environ.get("VLA_TOKEN")),
        Journal(open(os.devnull, "w")),
        infer_many=many,
    )

    async def run() -> None:
        import signal

        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        print(await server.start(), flush=True)
        await ended.wait()
        await server.stop()

    asyncio.run(run())
    return 0


def seen(contract: Contract, size: tuple[int, int], seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    # Smooth, as pictures are: noise would make a JPEG of them larger than any camera's.
    ramp = np.add.outer(np.arange(size[0]), np.arange(size[1]))[:, :, None] + rng.integers(
        0, 99, 3
    )
    images = {n: (ramp % 256).astype(np.uint8) for n in contract.camera_names}
    state = np.zeros(len(contract.state_names))
    state[[n.endswith(("qw", "gripper")) for n in contract.state_names]] = 1.0
    state[[n.endswith(".x") for n in contract.state_names]] = 0.3
    state[[n.endswith(".z") for n in contract.state_names]] = 0.2
    return Observation(images, state, contract.state_names, "pick up the red cube", seed)


def times_ms(policy, observation: Observation, calls: int) -> list[float]:
    found = []
    for seed in range(calls + 10):
        started = time.perf_counter()
        policy.infer(replace(observation, obs_ns=seed + 1))
        found.append(1e3 * (time.perf_counter() - started))
    return found[10:]


def overhead_ms(address: str, size: tuple[int, int], calls: int) -> dict[str, float]:
    observation = seen(CONTRACT, size)
    there, pid = load_policy(address), child()
    own_s, server_s = time.process_time(), cpu_s(pid)
    far = times_ms(there, observation, calls)
    own_s, server_s = time.process_time() - own_s, cpu_s(pid) - server_s
    near = times_ms(Still(), observation, calls)
    there.close()
    return {
        "overhead_p50_ms": round(float(np.median(far) - np.median(near)), 3),
        "overhead_p99_ms": round(float(np.percentile(far, 99) - np.median(near)), 3),
        "cpu_ms_robot": round(1e3 * own_s / len(far), 3),
        "cpu_ms_server": round(1e3 * server_s / len(far), 3),
    }


def child() -> int:
    """The server's process."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1])


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tiny_ms(address: str, calls: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    here, there = load_policy("tiny", head="flow"), load_policy(address)
    observation = seen(here.contract, (here.contract.image_px,) * 2)
    near, far = times_ms(here, observation, calls), times_ms(there, observation, calls)
    same = np.abs(
        here.infer(observation, seed=5).actions - there.infer(observation, seed=5).actions
    ).max()
    there.close()
    return {
        "here_p50_ms": round(float(np.median(near)), 2), "there_p50_ms": round(float(np.median(far)), 2),
        "largest_difference": float(same),
    }  # fmt: skip


def throughput(address: str, robots: int, seconds: float) -> dict[str, object]:
    """Requests a second of robots that ask again as soon as they are answered."""
    counts, latencies, refused = [0] * robots, [[] for _ in range(robots)], [0] * robots
    policies = [load_policy(address) for _ in range(robots)]
    begin = threading.Barrier(robots)

    def ask(index: int) -> None:
        policy = policies[index]
        observation = seen(policy.contract, (policy.contract.image_px,) * 2, index)
        policy.infer(observation)
        begin.wait()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            started = time.monotonic()
            try:
                policy.infer(observation)
            except Unavailable:
                refused[index] += 1
                time.sleep(0.02)
                continue
            counts[index] += 1
            latencies[index].append(time.monotonic() - started)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(robots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for policy in policies:
        policy.close()
    every = np.concatenate(latencies)
    return {
        "requests_per_s": round(sum(counts) / seconds, 2),
        "slowest_to_fastest": round(max(counts) / max(1, min(counts)), 3),
        "p50_ms": round(1e3 * float(np.median(every)), 1),
        "p99_ms": round(1e3 * float(np.percentile(every, 99)), 1),
        "refused": sum(refused),
    }


if __name__ == "__main__":
    sys.exit(main())
