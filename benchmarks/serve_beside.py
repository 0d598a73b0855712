"""Do robots that behave notice hostile clients of their server? Their latencies while it is attacked.

Two servers on this machine, robots on the first. In turns: nobody attacks; the second is attacked, which takes as much of
the machine's processors; the first is. What the server itself lets through to its robots is the third against the
second; the third against the first is also what two programs on few processors cost each other. Three minutes.

. tools/env.sh && python benchmarks/serve_beside.py --out benchmarks/serve_beside.json
"""

import argparse
import os
import sys
import time
from pathlib import Path

from serve import Process, about, finish
from serve_attack import TOKEN, Attacker, hold
from serve_hostile import Robots, told

P99_FACTOR = 2.0
CALM, OTHER, OWN = "nobody attacked", "another server attacked", "this server attacked"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=9.0, help="of each part of a round")
    parser.add_argument("--threads", type=int, default=3, help="of the attackers")
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    os.environ["VLA_TOKEN"] = TOKEN
    latencies_ms = {name: [] for name in (CALM, OTHER, OWN)}
    lost, frames = dict.fromkeys(latencies_ms, 0), dict.fromkeys(latencies_ms, 0)
    actions = 0
    with Process("still") as address, Process("still") as other:
        robots = Robots(address)
        first = robots.ask()
        time.sleep(3.0)
        first.stop()
        for _ in range(args.rounds):
            for name, target in ((CALM, None), (OTHER, other), (OWN, address)):
                attack, held = None, []
                if target is not None:
                    held = hold(target, args.connections)
                    attack = Attacker(
                        target, "--seconds", str(args.seconds), "--threads", str(args.threads)
                    )
                asking = robots.ask()
                time.sleep(args.seconds)
                asking.stop()
                latencies_ms[name] += asking.latencies_ms
                lost[name] += asking.lost
                if attack is not None:
                    sent, got = attack.wait()
                    frames[name], actions = frames[name] + sent, actions + got
                for one in held:
                    one.close()
        robots.close()
    rows = {n: {**told(latencies_ms[n], lost[n]), "frames": frames[n]} for n in latencies_ms}
    factor = rows[OWN]["p99_ms"] / rows[OTHER]["p99_ms"]
    to_calm = rows[OWN]["p99_ms"] / rows[CALM]["p99_ms"]
    met = {
        "p99_factor": factor <= P99_FACTOR,
        "no_action_without_token": not actions,
        "no_answer_lost": not lost[OWN],
    }
    report = {
        **about(),
        "bounds": {"p99_factor": P99_FACTOR},
        "rounds": args.rounds, "seconds": args.seconds, "actions_without_token": actions,
        "p99_factor": round(factor, 2), "p99_to_calm": round(to_calm, 2),
        "robots": rows,
        "met": {**met, "p99_to_calm": to_calm <= P99_FACTOR},
        "passed": all(met.values()),
    }  # fmt: skip
    return finish(report, args.out)


if __name__ == "__main__":
    sys.exit(main())
