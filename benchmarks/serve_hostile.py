"""What hostile clients do to a server: its memory, the robots that go on asking, and whether anybody got an action.

Hostile frames of every kind with and without the token, 200 connections that are never finished, frames that come a byte at
a time; beside them robots that ask all the time. Memory is read at rest after equal parts of the attack: resident pages, of
which allocators keep some that are free, and what the program itself holds, Python's objects and bytes of malloc, which a leak
alone makes more. The server is a process of its own, as it is used. Six minutes.

. tools/env.sh && python benchmarks/serve_hostile.py --out benchmarks/serve_hostile.json
"""

import argparse
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from serve import CONTRACT, Process, about, child, finish, seen
from serve_attack import TOKEN, Attacker, hold

from vla_policy.policy import load_policy
from vla_policy.runtime.policy_protocol import Unavailable

MEMORY_SHARE = 0.01
ROBOTS, PERIOD_S = 2, 0.05
REST_S = 6.0  # until the server has given up every connection of the attackers


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--warm", type=int, default=10_000, help="frames before the first reading")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--threads", type=int, default=20, help="of the attackers")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["VLA_TOKEN"] = TOKEN
    sent, actions, held = 0, 0, 0
    process = Process("still")
    with process as address:
        memory, robots = Memory(child()), Robots(address)
        asking = robots.ask()
        readings_kb, live, began_s = [], [], time.monotonic()
        for part in range(args.parts + 1):
            count = args.warm if part == 0 else args.frames // args.parts
            some = hold(address, args.connections)
            held = len(some)
            found = Attacker(
                address, "--frames", str(count), "--threads", str(args.threads)
            ).wait()
            for one in some:
                one.close()
            if part:
                sent, actions = sent + found[0], actions + found[1]
            time.sleep(REST_S)
            live.append(process.live())
            readings_kb.append(memory.now_kb())
            print(f"{part}: {found[0]} frames, {readings_kb[-1]} kB, {live[-1]}", flush=True)
        took_s = time.monotonic() - began_s
        behaved = asking.end()
        robots.close()
        memory.close()
    growth = (readings_kb[-1] - readings_kb[0]) / readings_kb[0]
    kept = (live[-1][1] - live[0][1]) / live[0][1]
    met = {
        "memory_share": growth <= MEMORY_SHARE,
        "live_memory_share": kept <= MEMORY_SHARE,
        "no_action_without_token": not actions,
        "frames": sent >= args.frames,
        "no_answer_lost": not behaved["lost"],
    }
    report = {
        **about(),
        "bounds": {"memory_share": MEMORY_SHARE},
        "frames": sent, "frames_before": args.warm, "seconds": round(took_s), "actions_without_token": actions,
        "connections_held": held,
        "memory_kb": {"at_rest": readings_kb, "peak": memory.peak_kb, "share": round(growth, 4),
                      "share_of_last_part": round((readings_kb[-1] - readings_kb[-2]) / readings_kb[0], 4)},
        "live": {"objects": [one[0] for one in live], "malloc_kb": [one[1] // 1024 for one in live],
                 "malloc_free_kb": [one[2] // 1024 for one in live]},
        "robots": behaved,
        "met": met, "passed": all(met.values()),
    }  # fmt: skip
    return finish(report, args.out)


class Memory:
    """Resident memory of the server, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
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

    def ask(self) -> "Asking":
        """They ask until Asking.stop."""
        return Asking(self._policies)

    def close(self) -> None:
        for policy in self._policies:
            policy.close()


class Asking:
    """Robots that ask, and what came of it."""

    def __init__(self, policies: list) -> None:
        self.latencies_ms: list[float] = []
        self.lost, self._ended = 0, threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(p, i)) for i, p in enumerate(policies)
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, policy, index: int) -> None:
        observation = seen(CONTRACT, (224, 224), index)
        while not self._ended.wait(PERIOD_S):
            started_s = time.perf_counter()
            try:
                policy.infer(observation)
                self.latencies_ms.append(1e3 * (time.perf_counter() - started_s))
            except Unavailable:
                self.lost += 1

    def stop(self) -> None:
        """No more requests."""
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def end(self) -> dict[str, float]:
        """Stops them; how many answers, and how long they took."""
        self.stop()
        return told(self.latencies_ms, self.lost)


def told(latencies_ms: list[float], lost: int) -> dict[str, float]:
    """asked, lost, p50 and p99 of latencies."""
    p50, p99 = np.percentile(latencies_ms, (50, 99))
    return {
        "asked": len(latencies_ms),
        "lost": lost,
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


if __name__ == "__main__":
    sys.exit(main())
