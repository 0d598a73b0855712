"""Measure a policy in closed loop: success rates with intervals, per suite, as JSON and a table.

The policy sees two camera images, its own arm and the sentence; physics decides. Its chunks go
through the same timeline and guard as on a robot, after a simulated inference latency.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.evaluate.measure import markdown, summarise
from vla_policy.evaluate.pilot import Pace
from vla_policy.evaluate.suites import SUITES
from vla_policy.execution.schemes import SCHEMES
from vla_policy.sim.twin import TWINS
from vla_policy.timing import rows_between_looks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `vla evaluate`."""
    parser.add_argument("--policy", default="tiny", help="shipped name, folder, or 'expert'")
    parser.add_argument("--robot", default="vx300s", choices=sorted(TWINS), help="whose twin")
    parser.add_argument("--head", choices=("flow", "token"), help="default: the policy's first")
    parser.add_argument(
        "--suite", default="pick_put", help=f"{', '.join(SUITES)}, several with commas, or all"
    )
    parser.add_argument("--episodes", type=int, default=100, help="per suite")
    parser.add_argument("--seed", type=int, default=0, help="0..99: which evaluation scenes")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON report; a .md table is put beside it")
    parser.add_argument(
        "--execute-rows", type=int, default=0, help="rows between two looks; 0: half a chunk"
    )
    parser.add_argument("--latency", type=float, default=0.1, help="s from a look to its chunk")
    parser.add_argument(
        "--scheme", default="receding", choices=tuple(SCHEMES), help="how chunks follow each other"
    )
    parser.add_argument("--num-steps", type=int, help="Euler steps of the flow head")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")


def run(args: argparse.Namespace) -> int:
    """Evaluate and report; returns the exit status."""
    names = list(SUITES) if args.suite == "all" else args.suite.split(",")
    unknown = [n for n in names if n not in SUITES]
    if unknown:
        raise ValueError(f"--suite: got {', '.join(unknown)}, expected {', '.join(SUITES)} or all")
    if args.episodes < 1 or args.execute_rows < 0 or not 0 <= args.latency <= 1:
        raise ValueError("--episodes must be at least 1, --execute-rows 0, --latency 0 to 1 s")
    if args.num_steps is not None and (args.num_steps < 1 or args.policy == "expert"):
        raise ValueError(f"--num-steps: got {args.num_steps}, expected at least 1, of a flow head")
    started = time.monotonic()
    settings = {
        key: getattr(args, key)
        for key in ("policy", "robot", "head", "seed", "execute_rows", "latency", "scheme", "num_steps", "device", "renderer")
    }  # fmt: skip
    reports, rows = {}, {}
    outcomes, settings["head"] = _work(settings, names, args)
    for name in names:
        rows[name] = sorted(outcomes[name], key=lambda r: r["seed"])
        reports[name] = summarise(rows[name])
    table = markdown(reports)
    Console().print(table, markup=False, soft_wrap=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"settings": settings | {"episodes": args.episodes}, "suites": reports}
        report |= {"seconds": round(time.monotonic() - started, 1), "trials": rows}
        args.out.write_text(json.dumps(report, indent=1))
        args.out.with_suffix(".md").write_text(table)
    return 0


def _work(
    settings: dict, names: list[str], args: argparse.Namespace
) -> tuple[dict[str, list[dict]], str | None]:
    """Outcomes by suite, and the head that made them."""
    jobs = [(settings, name, index) for name in names for index in range(args.episodes)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    outcomes: dict[str, list[dict]] = {name: [] for name in names}
    head = None
    with (
        Progress(*columns) as progress,
        context.Pool(min(args.workers, len(jobs)), _start_worker) as pool,
    ):
        bar = progress.add_task("trials", total=len(jobs))
        for name, outcome, used in pool.imap_unordered(_trial, jobs):
            head = used
            outcomes[name].append(outcome)
            done = [r for rs in outcomes.values() for r in rs]
            won = sum(r["success"] for r in done)
            progress.update(bar, advance=1, description=f"{name} {won}/{len(done)}")
    return outcomes, head


_worker: dict[str, object] = {}  # policy, world and robot of this process, made at its first trial


def _start_worker() -> None:
    os.environ["LP_NUM_THREADS"] = "1"


def _prepare(settings: dict) -> None:
    """Load what trials need. Not at the start of the process: a pool restarts those for ever."""
    from vla_policy.embodiment import load_embodiment
    from vla_policy.sim.world import World

    robot = load_embodiment(settings["robot"])
    policy = _load(settings, robot)
    _worker.update(
        world=World(renderer=settings["renderer"], robot=robot.name), robot=robot, policy=policy
    )


def _load(settings: dict, robot):
    if settings["policy"] == "expert":
        from vla_policy.evaluate.expert_policy import ExpertPolicy

        return ExpertPolicy(robot.name)
    import torch

    from vla_policy.policy import load_policy

    torch.set_num_threads(1)
    policy = load_policy(
        settings["policy"], embodiment=robot.name, head=settings["head"], device=settings["device"]
    )
    problems = policy.check(robot)
    if problems:
        raise ValueError(f"policy {settings['policy']!r}: {'; '.join(problems)}")
    if settings["num_steps"] is not None and policy.head != "flow":
        raise ValueError(f"--num-steps: the {policy.head} head takes no integration steps")
    return policy


def _trial(job: tuple[dict, str, int]) -> tuple[str, dict, str | None]:
    from vla_policy.evaluate.rollout import roll_out
    from vla_policy.evaluate.suites import trial

    settings, name, index = job
    if not _worker:
        _prepare(settings)
    scene, task = trial(SUITES[name], settings["seed"], index, robot=settings["robot"])
    rows = rows_between_looks(_worker["policy"].rows, settings["execute_rows"])
    pace = Pace(round(settings["latency"] * 1e9), rows, settings["scheme"])
    outcome = roll_out(
        _worker["policy"], _worker["world"], scene, task,
        embodiment=_worker["robot"], pace=pace, moves=SUITES[name].moves,
        num_steps=settings["num_steps"],
    )  # fmt: skip
    return name, outcome.to_dict(), _worker["policy"].head


def main() -> int:
    parser = argparse.ArgumentParser(prog="vla evaluate", description=__doc__)
    add_arguments(parser)
    return run(parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
