"""What hostile clients do to a server: memory, the latency of robots that behave, and whether anybody got an action.

Hostile frames of every kind of test/helpers/hostile.py with and without the token, connections that are never
finished, frames that come a byte at a time; beside them robots that ask all the time, whose p99 is compared with
that before. The server is a process of its own, as it is used.

. tools/env.sh && python benchmarks/serve_hostile.py --out benchmarks/serve_hostile.json
"""

import argparse
import contextlib
import datetime
import json
import os
import platform
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from serve import CONTRACT, Process, child, seen
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "helpers"))

from hostile import GOOD, frames

from vla_policy.policy import load_policy
from vla_policy.remote import wire
from vla_policy.runtime.policy_protocol import Unavailable

MEMORY_SHARE, P99_FACTOR = 0.01, 2.0
ROBOTS = 2
TOKEN = "of-the-benchmark"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--calm-s", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ["VLA_TOKEN"] = TOKEN
    if args.attack:
        attack = Attack(args.attack, args.frames)
        attack.start()
        attack.ended.wait()
        print(attack.sent, attack.actions)
        return 0
    with Process("still") as address:
        memory = Memory()
        robots = Robots(address)
        robots.measure(3.0)
        attacked(address, args.frames // 5).wait()  # what the allocator takes once, it has then
        calm = robots.measure(args.calm_s)
        before_kb = memory.now_kb()
        held = hold(address, args.connections)
        half_open = robots.measure(5.0)
        attack = attacked(address, args.frames)
        ended = threading.Event()
        threading.Thread(target=lambda: (attack.wait(), ended.set()), daemon=True).start()
        under = robots.measure(None, ended)
        sent, actions = map(int, attack.stdout.read().split())
        for one in held:
            one.close()
        time.sleep(12.0)
        after = robots.measure(args.calm_s)
        after_kb = memory.now_kb()
        robots.close()
    growth = (after_kb - before_kb) / before_kb
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "bounds": {"memory_share": MEMORY_SHARE, "p99_factor": P99_FACTOR},
        "frames": sent, "actions_without_token": actions, "connections_held": len(held),
        "memory_kb": {"before": before_kb, "peak": memory.peak_kb, "after": after_kb, "share": round(growth, 4)},
        "robots": {"calm": calm, "half_open": half_open, "under_attack": under, "after": after},
        "p99_factor": round(under["p99_ms"] / calm["p99_ms"], 2),
    }  # fmt: skip
    memory.close()
    report["passed"] = (
        growth <= MEMORY_SHARE and report["p99_factor"] <= P99_FACTOR and not actions
        and sent >= args.frames and not under["lost"]
    )  # fmt: skip
    text = json.dumps(report, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 0 if report["passed"] else 1


def headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def attacked(address: str, frames: int) -> subprocess.Popen:
    """An attack from a process of its own, so that it does not take the robots' interpreter."""
    line = [sys.executable, __file__, "--attack", address, "--frames", str(frames)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, text=True)


def throw(address: str, rng: random.Random, count: int, token: str | None) -> tuple[int, int]:
    """Frames that were sent and answers that held an action, over one connection."""
    sent = actions = 0
    try:
        with connect(
            address,
            compression=None,
            additional_headers=headers(token),
            open_timeout=5,
            close_timeout=0.2,
        ) as bad:
            bad.recv(timeout=5)
            for frame in frames(rng, count):
                sent += 1
                bad.send(frame)
                said = bad.recv(timeout=5)
                actions += token is None and isinstance(said, bytes) and b"actions" in said
    except (WebSocketException, OSError):
        sent += token is None  # the request itself, which carries nothing else
    return max(1, sent), actions


def hold(address: str, count: int) -> list[socket.socket]:
    """Connections that are never finished: silent, half a head, half a frame."""
    host, port = address.removeprefix("ws://").split(":")
    found = []
    for i in range(count):
        with contextlib.suppress(OSError):
            one = socket.create_connection((host, int(port)), timeout=2)
            if i % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
            found.append(one)
    return found


class Attack:
    """Frames in several threads until count are sent; a third without the token, some a byte at a time."""

    def __init__(self, address: str, count: int) -> None:
        self._address, self._left, self._lock = address, count, threading.Lock()
        self.sent = self.actions = 0
        self.ended = threading.Event()

    def start(self) -> None:
        for start in range(3):
            threading.Thread(target=self._run, args=(start,), daemon=True).start()
        threading.Thread(target=self._drip, daemon=True).start()

    def _run(self, start: int) -> None:
        rng = random.Random(start)
        while not self.ended.is_set():
            if rng.random() < 0.05:  # the connection of somebody without the token ends at once
                sent, actions = self._without_token()
            else:
                sent, actions = throw(self._address, rng, 200, TOKEN)
            with self._lock:
                self.sent, self.actions, self._left = (
                    self.sent + sent,
                    self.actions + actions,
                    self._left - sent,
                )
                if self._left <= 0:
                    self.ended.set()

    def _without_token(self) -> tuple[int, int]:
        """A right request over HTTP and WebSocket with no token, and with a wrong one."""
        actions = 0
        for token in (None, "wrong"):
            try:
                with connect(
                    self._address, additional_headers=headers(token), open_timeout=5
                ) as bad:
                    bad.send(GOOD)
                    said = wire.decode(bad.recv(timeout=2))
                    actions += "actions" in said or "vla" in said
            except (WebSocketException, OSError, ValueError):
                continue
        return 2, actions

    def _drip(self) -> None:
        while not self.ended.is_set():
            with contextlib.suppress(WebSocketException, OSError):
                with connect(
                    self._address,
                    additional_headers=headers(TOKEN),
                    open_timeout=5,
                    close_timeout=0.2,
                ) as bad:
                    bad.recv(timeout=5)
                    bad.socket.sendall(b"\x82\xfe\xff\xff\x00\x00\x00\x00")
                    while not self.ended.wait(0.05):
                        bad.socket.sendall(b"\x00")


class Memory:
    """Resident memory of the server, looked at ten times a second."""

    def __init__(self) -> None:
        self._pid = child()
        self.peak_kb, self._ended = 0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def now_kb(self) -> int:
        """The median of a second, as the allocator breathes."""
        found = []
        for _ in range(10):
            found.append(self._read())
            time.sleep(0.1)
        return int(np.median(found))

    def close(self) -> None:
        self._ended.set()

    def _read(self) -> int:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1])
        return 0

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak_kb = max(self.peak_kb, self._read())


class Robots:
    """Clients that behave: each asks twenty times a second."""

    def __init__(self, address: str) -> None:
        self._policies = [load_policy(address) for _ in range(ROBOTS)]

    def measure(
        self, seconds: float | None, ended: threading.Event | None = None
    ) -> dict[str, float]:
        """Latencies for so long, or until ended."""
        ended = ended or threading.Event()
        if seconds is not None:
            threading.Timer(seconds, ended.set).start()
        latencies: list[float] = []
        lost = [0]

        def ask(policy, index: int) -> None:
            observation = seen(CONTRACT, (224, 224), index)
            while not ended.wait(0.05):
                started = time.perf_counter()
                try:
                    policy.infer(observation)
                    latencies.append(1e3 * (time.perf_counter() - started))
                except Unavailable:
                    lost[0] += 1

        threads = [threading.Thread(target=ask, args=(p, i)) for i, p in enumerate(self._policies)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {
            "asked": len(latencies), "lost": lost[0], "p50_ms": round(float(np.median(latencies)), 2),
            "p99_ms": round(float(np.percentile(latencies, 99)), 2),
        }  # fmt: skip

    def close(self) -> None:
        for policy in self._policies:
            policy.close()


if __name__ == "__main__":
    sys.exit(main())
