"""Measure a policy in closed loop: success rates with intervals, per suite, as JSON and a table."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from vla_policy.commands import ray_tasks
from vla_policy.commands.execution_arguments import add_execution_arguments
from vla_policy.data.web.pictures import load
from vla_policy.evaluate.metrics import markdown, summarise
from vla_policy.evaluate.parallel import run_trials
from vla_policy.evaluate.rt2 import COLUMNS
from vla_policy.evaluate.suites import SUITES
from vla_policy.sim.twin import TWINS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `vla evaluate`."""
    parser.add_argument("--policy", default="tiny", help="shipped name, folder, or 'expert'")
    parser.add_argument("--robot", default="vx300s", choices=sorted(TWINS), help="whose twin")
    parser.add_argument("--head", choices=("flow", "token"), help="default: the policy's first")
    parser.add_argument(
        "--suite",
        default="pick_put",
        help=f"{', '.join(SUITES)}, several with commas, or all; {', '.join(COLUMNS)}, or rt2 for all of these",
    )
    parser.add_argument(
        "--web", default="data/web", help="named pictures for rt2, made by `vla data web`"
    )
    parser.add_argument("--episodes", type=int, default=100, help="per suite")
    parser.add_argument("--seed", type=int, default=0, help="0..99: which evaluation scenes")
    parser.add_argument("--workers", type=int, default=2)
    ray_tasks.add_ray_argument(parser)
    parser.add_argument("--out", type=Path, help="JSON report; a .md table is put beside it")
    parser.add_argument(
        "--pictures", type=Path, help="folder for one picture of each failed trial: start and end"
    )
    add_execution_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate and report; returns the exit status."""
    groups = {"all": list(SUITES), "rt2": list(COLUMNS)}
    names = groups.get(args.suite, args.suite.split(","))
    unknown = [n for n in names if n not in SUITES and n not in COLUMNS]
    if unknown:
        known = ", ".join((*SUITES, *COLUMNS))
        raise ValueError(f"--suite: got {', '.join(unknown)}, expected {known}, all or rt2")
    if any(n in COLUMNS for n in names):
        load(Path(args.web))  # raises early if something is missing
    if args.episodes < 1 or args.execute_rows < 0 or not 0 <= args.latency <= 1:
        raise ValueError("--episodes must be at least 1, --execute-rows 0, --latency 0 to 1 s")
    if args.num_steps is not None and (args.num_steps < 1 or args.policy == "expert"):
        raise ValueError(f"--num-steps: got {args.num_steps}, expected at least 1, of a flow head")
    ray_tasks.require_fit(args)
    started = time.monotonic()
    settings = {
        key: getattr(args, key)
        for key in ("policy", "robot", "head", "seed", "execute_rows", "latency", "scheme", "num_steps", "device", "renderer", "web", "pictures")
    }  # fmt: skip
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    settings["pictures"] = None if args.pictures is None else str(args.pictures)
    reports, rows = {}, {}
    with ray_tasks.tasks_of(args) as as_done:
        outcomes, settings["head"] = run_trials(settings, names, args, as_done)
    for name in names:
        rows[name] = sorted(outcomes[name], key=lambda r: r["seed"])
        reports[name] = summarise(rows[name])
    table = markdown(reports)
    Console().print(table, markup=False, soft_wrap=True)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        report: dict[str, Any] = {
            "settings": settings | {"episodes": args.episodes},
            "suites": reports,
        }
        report |= {"seconds": round(time.monotonic() - started, 1), "trials": rows}
        args.out.write_text(json.dumps(report, indent=1))
        args.out.with_suffix(".md").write_text(table)
    return 0
