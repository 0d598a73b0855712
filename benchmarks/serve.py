"""What a policy on another machine costs beside one in this process, by the difference of their times.

Three cameras of 224 x 224 and of 640 x 480 pixels, raw and as JPEG, over loopback. Images of 640 x 480 come twice: to a
policy that takes them whole, and to one that states its size (224), for which the client scales them as the policy would
have done here. Each call there is followed by one here, so that both see the same machine.

. tools/env.sh && python benchmarks/serve.py --out benchmarks/serve.json
"""

import argparse
import asyncio
import ctypes
import datetime
import gc
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vla_policy import __version__
from vla_policy.checkpoint.contract import Contract
from vla_policy.models.fitting import with_bars
from vla_policy.policy import load_policy
from vla_policy.remote.handshake import Offer
from vla_policy.remote.journal import Journal
from vla_policy.remote.process_memory import settle_memory
from vla_policy.remote.server import Server
from vla_policy.remote.serving import Serving
from vla_policy.runtime.policy_protocol import PlainPolicy
from vla_policy.types import ActionChunk, Observation

BOUND_MS = 3.0
CAMERAS = ("front", "left", "wrist")
COLUMNS = tuple(f"joint.{i}" for i in range(7))
CONTRACT = Contract(
    CAMERAS, 224, COLUMNS, COLUMNS, COLUMNS, (("arm", "joint_position"),), 20.0, ("played",)
)
ROWS = 50
# Name, policy, size of the images, end of the address, whether the bound holds.
CASES = (
    ("3 x 224 x 224", "still", (224, 224), "", True),
    ("3 x 224 x 224, JPEG", "still", (224, 224), "?jpeg=90", False),
    ("3 x 640 x 480, the policy states 224 px", "fits", (480, 640), "", True),
    ("3 x 640 x 480, the policy states 224 px, JPEG", "fits", (480, 640), "?jpeg=90", False),
    ("3 x 640 x 480, sent whole", "still", (480, 640), "", False),
    ("3 x 640 x 480, sent whole, JPEG", "still", (480, 640), "?jpeg=90", False),
)
WARM = 10
MALLINFO = (
    "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
)  # fmt: skip


class Still(PlainPolicy):
    """Rows in no time: what is measured is the way to it and back."""

    rows, contract, square_px = ROWS, CONTRACT, None

    def infer_chunk(self, observation, previous, options):
        """The state, again and again."""
        rows = np.tile(observation.state, (ROWS, 1))
        return ActionChunk(
            rows, COLUMNS, observation.obs_ns, CONTRACT.step_ns, 0, observation.instruction
        )


class Fits(Still):
    """The same, which first scales every image into its square, as policies do."""

    square_px = CONTRACT.image_px

    def infer_chunk(self, observation, previous, options):
        """Those of Still, after the images are scaled."""
        for image in observation.images.values():
            with_bars(image, (self.square_px,) * 2)
        return super().infer_chunk(observation, previous, options)


PLAYED = {"still": Still, "fits": Fits}


def offer_of(policy, name: str) -> Offer:
    """What a server says of a played policy."""
    return Offer(
        name, "0", "", "", {}, policy.contract, policy.rows, policy.square_px, {}, policy.head,
        policy.continues, policy.can_point, policy.can_answer, policy.understanding,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", choices=tuple(PLAYED), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    rows = {}
    for name, policy, size, end, bounded in CASES:
        with Process(policy) as address:
            rows[name] = {
                **overhead(address + end, PLAYED[policy](), size, args.calls),
                "bound_ms": BOUND_MS if bounded else None,
            }
        print(name, rows[name], flush=True)
    report = {
        **about(),
        "passed": all(r["overhead_p50_ms"] <= BOUND_MS for r in rows.values() if r["bound_ms"]),
        "overhead": rows,
    }
    return finish(report, args.out)


def about() -> dict[str, object]:
    """Command, date, machine and versions, of every result of serving."""
    names = ("numpy", "torch", "aiohttp", "websockets", "msgpack", "opencv-python-headless")
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {
            "vla_policy": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in names},
        },
    }


def finish(report: dict[str, object], out: Path | None) -> int:
    """Print report, write it where that is asked for; the exit code."""
    text = json.dumps(report, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")
    return 0 if report["passed"] else 1


class Process:
    """A server of a played policy in a process of its own."""

    def __init__(self, policy: str) -> None:
        self._policy = policy

    def __enter__(self) -> str:
        line = [sys.executable, __file__, "--serve", self._policy]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid
        return f"ws://127.0.0.1:{self._process.stdout.readline().strip()}"

    def live(self) -> tuple[int, int, int]:
        """What the server's program holds: objects of Python; bytes of malloc in use, and free ones that it keeps."""
        self._process.send_signal(signal.SIGUSR1)
        objects, in_use, free = map(int, self._process.stdout.readline().split())
        return objects, in_use, free

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait(20)


def serve(name: str) -> int:
    """Until it is told to end."""
    policy = PLAYED[name]()
    serving = Serving(port=0, token=os.environ.get("VLA_TOKEN"))
    server = Server(policy, offer_of(policy, name), serving, Journal(open(os.devnull, "w")))

    async def run() -> None:
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell_live)
        print(await server.start(), flush=True)
        await ended.wait()
        await server.stop()

    settle_memory()  # as `vla serve` does
    asyncio.run(run())
    return 0


def tell_live() -> None:
    """A line of Process.live."""
    gc.collect()
    info = ctypes.CDLL("libc.so.6").mallinfo2
    info.restype = type(
        "Info", (ctypes.Structure,), {"_fields_": [(n, ctypes.c_size_t) for n in MALLINFO]}
    )
    told = info()
    print(sys.getallocatedblocks(), told.uordblks + told.hblkhd, told.fordblks, flush=True)


def seen(contract: Contract, size: tuple[int, int], seed: int = 0) -> Observation:
    """An observation of contract whose images have the size."""
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


def overhead(address: str, near, size: tuple[int, int], calls: int) -> dict[str, float]:
    """Milliseconds of calls there and here, in turns, and the processor's share of them."""
    there, pid = load_policy(address), child()
    whole = seen(CONTRACT, size)
    far_ms, near_ms, own_s, here_s = [], [], 0.0, 0.0
    for seed in range(calls + WARM):
        if seed == WARM:
            own_s, here_s, server_s = 0.0, 0.0, cpu_s(pid)
        observation = replace(whole, obs_ns=seed + 1)
        started_s, begun_s = time.process_time(), time.perf_counter()
        there.infer(observation)
        far_ms.append(1e3 * (time.perf_counter() - begun_s))
        own_s += time.process_time() - started_s
        started_s, begun_s = time.process_time(), time.perf_counter()
        near.infer(observation)
        near_ms.append(1e3 * (time.perf_counter() - begun_s))
        here_s += time.process_time() - started_s
    server_s = cpu_s(pid) - server_s
    there.close()
    far, here = np.array(far_ms[WARM:]), np.array(near_ms[WARM:])
    return {
        "overhead_p50_ms": round(float(np.median(far) - np.median(here)), 3),
        "overhead_p99_ms": round(float(np.percentile(far, 99) - np.median(here)), 3),
        "there_p50_ms": round(float(np.median(far)), 3),
        "here_p50_ms": round(float(np.median(here)), 3),
        "cpu_ms_robot": round(1e3 * own_s / calls, 3),
        "cpu_ms_server": round(1e3 * server_s / calls, 3),
        "cpu_ms_here": round(1e3 * here_s / calls, 3),
    }


def child() -> int:
    """The process that was started last, by this one."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1])


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
