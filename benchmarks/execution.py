"""Chunk schemes under delay: success in the simulation, and how smooth the command is where chunks meet.

    python benchmarks/execution.py --episodes 100 --out benchmarks/execution.json --plots docs/images

For each scheme and injected delay: the success of the flow head over the pick_put scenes, and on the commands
that went to the arm (50 Hz) the change of position, velocity and acceleration from tick to tick where a chunk
was taken ("seam"), beside the same away from seams ("own", p95). Then, on the very chunks that were recorded
with `receding`, what other consumers make of them, by rows: plain open loop (each chunk from its first row on),
lerobot's asynchronous queue (latest_only, and its default 0.3 old + 0.7 new), and the schemes of this package.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import platform
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from vla_policy.evaluate.metrics import wilson
from vla_policy.evaluate.smoothness import differences
from vla_policy.execution import timeline as plan
from vla_policy.execution.schemes import SCHEMES
from vla_policy.types import ActionChunk

DELAYS_MS = "0,100,300,800"
LEROBOT_OLD = 0.3  # weight of the old row in lerobot's weighted_average


@dataclass
class Record:
    """One trial: tool positions that were commanded, per tick, and the chunks with their arrival."""

    times_ns: list[int] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    chunks: list[tuple[int, ActionChunk]] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policy", default="tiny")
    parser.add_argument("--head", default="flow", choices=("flow", "token"))
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--delays", default=DELAYS_MS, help="ms, with commas")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--execute-rows", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--plots", type=Path, help="folder for execution_*.png")
    args = parser.parse_args()
    delays = [int(d) for d in args.delays.split(",")]
    jobs = [
        (args.policy, args.head, scheme, delay, args.execute_rows, i)
        for scheme in args.schemes.split(",")
        for delay in delays
        for i in range(args.episodes)
    ]
    cells: dict[tuple[str, int], list[tuple[bool, Record]]] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(args.workers, _start) as pool:
        for scheme, delay, success, record in pool.imap(run_trial, jobs):
            done = cells.setdefault((scheme, delay), [])
            done.append((success, record))
            if len(done) == args.episodes:
                wins = sum(s for s, _ in done)
                print(f"{scheme:10s} {delay:4d} ms  {wins}/{args.episodes}", flush=True)
    report = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "settings": {k: str(v) for k, v in vars(args).items()},
        "closed_loop": [cell_report(*key, trials) for key, trials in cells.items()],
        "same_chunks": [
            {"delay_ms": delay, **same_chunks([record for _, record in cells["receding", delay]])}
            for delay in delays
            if ("receding", delay) in cells
        ],
    }
    print(json.dumps(report["same_chunks"], indent=1))
    if args.out is not None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.plots is not None:
        from execution_plot import draw_seams, draw_success  # beside this file

        draw_success(report["closed_loop"], args.plots / "execution_success.png")
        draw_seams(
            {name: trials[0][1] for (name, delay), trials in cells.items() if delay == 300},
            args.plots / "execution_seams.png",
        )


_worker: dict = {}


def _start() -> None:
    os.environ["LP_NUM_THREADS"] = "1"


def run_trial(job: tuple) -> tuple[str, int, bool, Record]:
    """One closed-loop trial and what went to the arm."""
    policy_name, head, scheme, delay_ms, execute_rows, index = job
    from vla_policy.evaluate.closed_loop import Pace
    from vla_policy.evaluate.rollout import roll_out
    from vla_policy.evaluate.suites import SUITES, trial

    if not _worker:
        _prepare(policy_name, head)
    world, policy = _worker["world"], _worker["policy"]
    world.record = policy.record = record = Record()
    policy.delay_ns = delay_ms * 1_000_000
    scene, task = trial(SUITES["pick_put"], 0, index)
    pace = Pace(policy.delay_ns, execute_rows, scheme)
    outcome = roll_out(
        policy, world, scene, task, embodiment=_worker["robot"], pace=pace, moves=True
    )
    return scheme, delay_ms, outcome.success, record


def _prepare(policy_name: str, head: str) -> None:
    import torch

    from vla_policy.embodiment import load_embodiment
    from vla_policy.policy import load_policy
    from vla_policy.sim.world.world import World

    torch.set_num_threads(1)

    class Recorded(World):
        def command(self, pose: np.ndarray, gripper: float, arm: int = 0) -> None:
            self.record.times_ns.append(self.time_ns)
            self.record.positions.append(np.array(pose[:3]))
            super().command(pose, gripper, arm)

    class Watched:
        """The policy, with its chunks noted."""

        def __init__(self) -> None:
            self._policy = load_policy(policy_name, head=head)
            self.contract, self.rows = self._policy.contract, self._policy.rows
            self.continues, self.point = self._policy.continues, self._policy.point
            self.can_point, self.head = self._policy.can_point, self._policy.head
            self.understands, self.sees = self._policy.understands, self._policy.sees

        def infer_chunk(self, observation, previous, options) -> ActionChunk:
            chunk = self._policy.infer_chunk(observation, previous, options)
            self.record.chunks.append((observation.obs_ns + self.delay_ns, chunk))
            return chunk

    _worker.update(world=Recorded(), policy=Watched(), robot=load_embodiment("vx300s"))


def cell_report(scheme: str, delay_ms: int, trials: list[tuple[bool, Record]]) -> dict:
    """Success and seams of one scheme at one delay."""
    wins = sum(success for success, _ in trials)
    report = {"scheme": scheme, "delay_ms": delay_ms, "trials": len(trials), "successes": wins}
    report["rate"], report["interval"] = wins / len(trials), wilson(wins, len(trials))
    seams, own = {}, {}
    for _, record in trials:
        taken_ns = [at_ns for at_ns, _ in record.chunks]
        sizes = differences(record.times_ns, record.positions, taken_ns)
        for name, (at_seams, elsewhere) in sizes.items():
            seams.setdefault(name, []).append(at_seams)
            own.setdefault(name, []).append(elsewhere)
    for name in seams:
        report[name] = against_own(np.concatenate(seams[name]), np.concatenate(own[name]))
    return report


def same_chunks(records: list[Record]) -> dict:
    """What each consumer makes of the same chunks: seam steps against the motion's own, per row of 0.1 s."""
    out = {}
    for name, consume in CONSUMERS.items():
        seams, own = [], []
        for record in records:
            for (_, before), (new, row) in pairwise(consume(record.chunks)):
                (seams if new else own).append(np.linalg.norm(row - before) * 1e3)
        if seams and own:
            out[name] = against_own(np.array(seams), np.array(own))
    return out


def against_own(seams: np.ndarray, own: np.ndarray) -> dict[str, float]:
    """Percentiles at seams beside those of the motion itself."""
    if len(seams) == 0 or len(own) == 0:
        return {}
    return {
        "seam_p50": round(float(np.percentile(seams, 50)), 4),
        "seam_p95": round(float(np.percentile(seams, 95)), 4),
        "seam_max": round(float(seams.max()), 4),
        "own_p50": round(float(np.percentile(own, 50)), 4),
        "own_p95": round(float(np.percentile(own, 95)), 4),
        "seams": len(seams),
    }


def open_loop_rows(chunks: list[tuple[int, ActionChunk]]) -> list[tuple[bool, np.ndarray]]:
    """Each chunk from its first row on, as soon as it is there, until the next comes."""
    out = []
    for (at_ns, chunk), after in zip(chunks, [*chunks[1:], (None, None)], strict=True):
        count = len(chunk.actions)
        if after[0] is not None:
            count = min(count, max(1, round((after[0] - at_ns) / chunk.step_ns)))
        out += [(k == 0, row[:3]) for k, row in enumerate(chunk.actions[:count])]
    return out


def lerobot_rows(old: float):
    """A queue of actions by time step; where old and new meet, old * old + (1 - old) * new; past ones dropped."""

    def rows(chunks: list[tuple[int, ActionChunk]]) -> list[tuple[bool, np.ndarray]]:
        out, queue, done = [], {}, -1
        step_ns, first_ns = chunks[0][1].step_ns, chunks[0][1].obs_ns
        for (_, chunk), after in zip(chunks, [*chunks[1:], (None, None)], strict=True):
            start = round((chunk.obs_ns - first_ns) / step_ns)
            for k, row in enumerate(chunk.actions):
                if start + k > done:
                    before = queue.get(start + k)
                    queue[start + k] = row if before is None else old * before + (1 - old) * row
            until = max(queue) + 1 if after[0] is None else round((after[0] - first_ns) / step_ns)
            new = True
            for t in sorted(t for t in queue if done < t < until):
                out.append((new, queue[t][:3]))
                done, new = t, False
        return out

    return rows


def scheme_rows(name: str):
    """A scheme of this package, its setpoint at the end of each row."""

    def rows(chunks: list[tuple[int, ActionChunk]]) -> list[tuple[bool, np.ndarray]]:
        from vla_policy.embodiment import load_embodiment
        from vla_policy.embodiment.layout import layout_of

        layout, line, out = layout_of(load_embodiment("vx300s")), plan.Timeline(), []
        ends = [at_ns for at_ns, _ in chunks[1:]] + [chunks[-1][0] + 10**9]
        for sequence, ((at_ns, chunk), end_ns) in enumerate(zip(chunks, ends, strict=True)):
            chunk = ActionChunk(
                chunk.actions, chunk.names, chunk.obs_ns, chunk.step_ns, sequence, ""
            )
            stands = plan.setpoint(line, at_ns, layout)
            stands = chunk.actions[0] if stands is None else stands
            line, _ = plan.insert(line, chunk, at_ns, stands, layout, merge=SCHEMES[name].merge)
            new = True
            for t in range(at_ns + chunk.step_ns, end_ns + 1, chunk.step_ns):
                here = plan.setpoint(line, t, layout)
                if here is not None:
                    out.append((new, here[:3]))
                    new = False
        return out

    return rows


CONSUMERS = {
    "plain open loop": open_loop_rows,
    "lerobot latest_only": lerobot_rows(0.0),
    "lerobot weighted_average": lerobot_rows(LEROBOT_OLD),
    **{name: scheme_rows(name) for name in ("receding", "average", "ensemble", "blend")},
}

if __name__ == "__main__":
    main()
