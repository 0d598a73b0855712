"""Real-time chunking over a network: does the task succeed as often with 200 ms of delay as with none?

Closed loop in the twin, the same scenes at each delay, the shipped flow head behind a server of its own process, so that what
continues a chunk goes over the wire. A delay is that of an answer altogether, on the clock of the simulation.

. tools/env.sh && python benchmarks/serve_rtc.py --out benchmarks/serve_rtc.json
"""

import argparse
import sys
import time
from pathlib import Path

from serve import about, finish
from serve_robots import Verb

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.metrics import wilson
from vla_policy.evaluate.rollout import roll_out
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.runtime.policy_protocol import Unavailable
from vla_policy.sim.world.world import World

ROBOT, SUITE, SCHEME = "vx300s", "pick_put", "rtc"
POINTS, TRIES = 5.0, 40


class Patient:
    """The server's policy. The clock of the simulation waits for it, so an answer that is late here comes when it comes."""

    def __init__(self, policy) -> None:
        self._policy = policy
        self.contract, self.rows, self.continues = policy.contract, policy.rows, policy.continues
        self.can_point, self.head = policy.can_point, policy.head

    def infer_chunk(self, observation, previous, options):
        """As the policy does."""
        return self._again(self._policy.infer_chunk, observation, previous, options)

    def point(self, observation):
        """As the policy does."""
        return self._again(self._policy.point, observation)

    def _again(self, ask, *about):
        for _ in range(TRIES):
            try:
                return ask(*about)
            except Unavailable:
                time.sleep(0.5)
        return ask(*about)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument(
        "--delays", default="0,200", help="ms, with commas; the first is compared with"
    )
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    delays = [int(d) for d in args.delays.split(",")]
    won: dict[int, list[bool]] = {delay: [] for delay in delays}
    with Verb("tiny", "--head", "flow") as address:
        policy, world, robot = load_policy(address), World(), load_embodiment(ROBOT)
        patient = Patient(policy)
        for index in range(args.first, args.first + args.episodes):
            scene, task = trial(SUITES[SUITE], 0, index)
            for delay in delays:
                pace = Pace(delay * 1_000_000, scheme=SCHEME)
                done = roll_out(
                    patient, world, scene, task, embodiment=robot, pace=pace, moves=True
                )
                won[delay].append(done.success)
            print(index, {d: sum(w) for d, w in won.items()}, flush=True)
        policy.close()
    base = won[delays[0]]
    rows = [
        {
            "delay_ms": delay, "trials": len(wins), "successes": sum(wins),
            "interval": [round(x, 3) for x in wilson(sum(wins), len(wins))],
            "points_below": round(100 * (sum(base) - sum(wins)) / len(wins), 1),
            "lost_here_alone": sum(a and not b for a, b in zip(base, wins, strict=True)),
            "won_here_alone": sum(b and not a for a, b in zip(base, wins, strict=True)),
        }
        for delay, wins in won.items()
    ]  # fmt: skip
    report = {
        **about(),
        "scheme": SCHEME,
        "suite": SUITE,
        "first_scene": args.first,
        "bounds": {"points_below": POINTS},
        "passed": all(row["points_below"] <= POINTS for row in rows),
        "rows": rows,
    }
    return finish(report, args.out)


if __name__ == "__main__":
    sys.exit(main())
