"""Compare policies on the same trials: which does more, how sure that is, how smooth, how fast, how large; one report.

Every policy is tried on every robot and suite that it fits. A folder that is there already is gone on with: only what it
lacks is tried.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from vla_policy import __version__
from vla_policy.commands import ray_tasks
from vla_policy.commands.execution_arguments import add_execution_arguments
from vla_policy.data.lerobot.durable import json_bytes, replace_file
from vla_policy.evaluate.compare import (
    look_at_policies,
    pairs_that_lack,
    reason_of,
    split_head,
    try_in_graph,
    try_in_processes,
)
from vla_policy.evaluate.comparison import document
from vla_policy.evaluate.comparison_folder import (
    Cell,
    ComparisonFolder,
    ComparisonPlan,
    asked_rows,
)
from vla_policy.evaluate.parallel import COLUMNS
from vla_policy.evaluate.policy_facts import checkpoint_folders
from vla_policy.evaluate.report import page
from vla_policy.evaluate.report_tables import (
    differences_table,
    markdown,
    not_asked,
    policies_table,
    results_table,
)
from vla_policy.evaluate.suite_sources import all_robots, require_offered
from vla_policy.sim.twin import EXPERT

# Options that make a trial what it is: a folder holds trials of one value of each.
OPTIONS = {
    "seed": 0, "execute_rows": 0, "latency": 0.1, "scheme": "receding", "num_steps": None, "device": "cpu",
    "renderer": "auto", "web": "data/web", "graph": False,
}  # fmt: skip
HOW = {"workers": 1, "films": 2}  # they change no trial
OF_ONE_PROCESS = ("execute_rows", "latency", "num_steps", "web")
LINE = 200  # characters of a reason in the terminal; the report has them all
SHOWN = ("torch", "mujoco", "numpy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of `vla compare`."""
    names = "several with commas"
    parser.add_argument(
        "--policy",
        default="tiny,expert",
        help=f"shipped names, folders, policy files, BASE+ADAPTER, ws://host:port, expert; NAME@token for its other head; {names}",
    )
    parser.add_argument("--robot", default="vx300s", help=f"whose twins; {names}")
    parser.add_argument("--suite", default="pick_put", help=f"as of `vla evaluate`; {names}")
    parser.add_argument("--episodes", type=int, default=50, help="of each policy, robot and suite")
    parser.add_argument("--seed", type=int, default=0, help="0..99: which evaluation scenes")
    parser.add_argument(
        "--workers",
        type=int,
        default=HOW["workers"],
        help="processes that try at the same time; 0: in this one",
    )
    ray_tasks.add_ray_argument(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("out/compare"), help="folder of trials and report"
    )
    parser.add_argument(
        "--films",
        type=int,
        default=HOW["films"],
        help="failures shown of each part; 0: none is filmed",
    )
    parser.add_argument(
        "--graph", action="store_true", help="through the running nodes, in real time"
    )
    add_execution_arguments(parser)
    parser.add_argument("--web", default="data/web", help="named pictures for suites rt2_*")


def run(args: argparse.Namespace) -> int:
    """Run missing trials, then report; 0 if all are done, 130 after Ctrl-C."""
    plan = plan_of(args)
    with ComparisonFolder(args.out, plan) as folder:
        try:
            _try_what_lacks(folder, args)
        except KeyboardInterrupt:
            folder.read_again()
            done, total = _counts(folder)
            print(
                f"stopped; {done} of {total} trials are in {args.out}, the same command goes on with the rest"
            )
            return 130
        found = write_report(folder, args)
    console = Console()
    for table in (results_table(found), differences_table(found), policies_table(found)):
        console.print(markdown(table), markup=False, soft_wrap=True)
    for line in not_asked(found):
        print(f"not asked: {line}" if len(line) <= LINE else f"not asked: {line[:LINE]} ...")
    print(f"wrote {args.out}/report.html, .json and .md")
    return 0


def plan_of(args: argparse.Namespace) -> ComparisonPlan:
    """The comparison of the arguments.

    Raises ValueError or FileNotFoundError, with got and expected.
    """
    ends = {
        "episodes": (1, 2000),
        "seed": (0, 99),
        "workers": (0, 256),
        "films": (0, 100),
        "execute_rows": (0, 1000),
    }
    for name, (low, high) in ends.items():
        if not low <= getattr(args, name) <= high:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option}: got {getattr(args, name)}, expected {low} to {high}")
    if not 0 <= args.latency <= 1:
        raise ValueError(f"--latency: got {args.latency}, expected 0 to 1 s")
    if args.num_steps is not None and args.num_steps < 1:
        raise ValueError(f"--num-steps: got {args.num_steps}, expected 1 or more")
    options = {name: getattr(args, name) for name in OPTIONS}
    plan = ComparisonPlan(
        _names(args.policy), _names(args.robot), _names(args.suite), args.episodes, options
    )
    for robot in plan.robots:
        if robot not in all_robots():
            raise ValueError(f"--robot: got {robot!r}, expected some of {', '.join(all_robots())}")
    require_offered(plan.suites, options)
    for policy in plan.policies:
        name, head = split_head(policy)
        if name == EXPERT and head is not None:
            raise ValueError(f"--policy: got {policy!r}, expected {EXPERT}, which has no heads")
        checkpoint_folders(name)
    if args.graph:
        _require_for_graph(plan, args)
    ray_tasks.require_fit(args)
    return plan


def _names(words: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in words.split(","))


def _require_for_graph(plan: ComparisonPlan, args: argparse.Namespace) -> None:
    for name in OF_ONE_PROCESS:
        if getattr(args, name) != OPTIONS[name]:
            raise ValueError(
                f"--{name.replace('_', '-')}: a running graph has its own; leave it out with --graph"
            )
    if args.workers != 1 or args.ray:
        got = "--ray" if args.ray else f"--workers {args.workers}"
        raise ValueError(f"got {got} with --graph, where trials take their real time, one by one")
    from vla_policy.ros.operator.graph_trials import refuse_suite

    for suite in plan.suites:
        if reason := refuse_suite(suite):
            raise ValueError(
                f"--suite: got {suite!r}, which cannot be tried with --graph: {reason}"
            )


def _try_what_lacks(folder: ComparisonFolder, args: argparse.Namespace) -> None:
    with (
        ray_tasks.tasks_of(args) as as_done,
        Progress(*COLUMNS, TimeRemainingColumn()) as progress,
    ):
        bar = progress.add_task("looking at policies", total=None)

        def told(what: str) -> None:
            progress.update(bar, description=f"loaded {what}")

        look_at_policies(folder, told, workers=args.workers, as_done=as_done)
        done, total = _counts(folder)
        progress.update(bar, completed=done, total=total, description="trials")
        won: dict[Cell, list[bool]] = {}

        def on_trial(cell: Cell, row: Mapping[str, Any]) -> None:
            results = won.setdefault(cell, [])
            results.append(bool(row["success"]))
            words = f"{' '.join(cell)} {sum(results)}/{len(results)}"
            progress.update(bar, advance=1, description=words)

        for policy, robot in pairs_that_lack(folder):
            if args.graph:
                from vla_policy.ros.operator.graph_trials import graph_trials

                try_in_graph(
                    folder,
                    policy,
                    robot,
                    open_graph=graph_trials,
                    films=args.films > 0,
                    on_trial=on_trial,
                )
            else:
                try_in_processes(
                    folder, policy, robot, workers=args.workers, films=args.films > 0, on_trial=on_trial,
                    as_done=as_done,
                )  # fmt: skip


def write_report(folder: ComparisonFolder, args: argparse.Namespace) -> dict[str, Any]:
    """The three reports of all finished trials; returns the content of report.json."""
    of = asked_rows(folder.plan, folder.rows)
    not_asked = {
        cell: reason for cell in folder.plan.cells() if (reason := reason_of(folder, cell))
    }
    found = {"about": about(args), **document(folder.plan, of, folder.facts, not_asked)}
    films = [
        row
        for rows in of.values()
        for row in [r for r in rows if r["film"] and (folder.films / r["film"]).is_file()][
            : args.films
        ]
    ]
    tables = (results_table(found), differences_table(found), policies_table(found))
    replace_file(folder.out / "report.json", json_bytes(found, indent=1))
    replace_file(
        folder.out / "report.md", "\n".join(markdown(t) for t in tables if t.rows).encode()
    )
    replace_file(folder.out / "report.html", page(found, films, folder.films).encode())
    return found


def about(args: argparse.Namespace) -> dict[str, Any]:
    """Command, date, machine and versions."""
    return {
        "command": command(args),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "options": _options(args),
        "versions": ", ".join(
            (f"vla_policy {__version__}", f"Python {platform.python_version()}", *filter(None, map(_version, SHOWN)))
        ),
    }  # fmt: skip


def command(args: argparse.Namespace) -> str:
    """The command of this comparison: required arguments, then those not at their default."""
    words = ["vla", "compare"]
    for name in ("policy", "robot", "suite", "episodes", "out"):
        words += [f"--{name}", str(getattr(args, name))]
    for name, plain in HOW.items():
        if getattr(args, name) != plain:
            words += [f"--{name}", str(getattr(args, name))]
    return shlex.join(
        [*words, *_options(args), *(f"--{n}" for n in ("graph", "ray") if getattr(args, n))]
    )


def _options(args: argparse.Namespace) -> list[str]:
    """The OPTIONS that are not at their default, as arguments of a command line."""
    words: list[str] = []
    for name, plain in OPTIONS.items():
        if name != "graph" and (value := getattr(args, name)) != plain:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _counts(folder: ComparisonFolder) -> tuple[int, int]:
    """Number of finished trials, and of all possible ones."""
    cells = [cell for cell in folder.plan.cells() if not reason_of(folder, cell)]
    total = len(cells) * folder.plan.episodes
    return total - sum(len(folder.lacks(cell)) for cell in cells), total
