"""Trials of a suite in worker processes."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vla_policy.embodiment import Embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.suites import SUITES
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.scenes.scene import Scene
from vla_policy.sim.tasks.tasks import Task


def run_trials(
    settings: dict[str, Any], names: list[str], args: argparse.Namespace
) -> tuple[dict[str, list[dict[str, Any]]], str | None]:
    """Outcomes by suite, and the head that made them."""
    jobs = [(settings, name, index) for name in names for index in range(args.episodes)]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
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


_worker: dict[str, Any] = {}  # policy, world and robot of this process, made at its first trial


def _start_worker() -> None:
    os.environ["LP_NUM_THREADS"] = "1"


def _prepare(settings: dict[str, Any]) -> None:
    """Load what trials need. Not at the start of the process: a pool restarts failing processes for ever."""
    from vla_policy.embodiment import load_embodiment
    from vla_policy.sim.world.world import World

    robot = load_embodiment(settings["robot"])
    policy = _load(settings, robot)
    _worker.update(
        world=World(renderer=settings["renderer"], robot=robot.name), robot=robot, policy=policy
    )


def _load(settings: dict[str, Any], robot: Embodiment) -> PolicyProtocol:
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


def _drawn(settings: dict[str, Any], name: str, index: int) -> tuple[Scene, Task]:
    from vla_policy.evaluate.rt2 import COLUMNS, rt2_trial
    from vla_policy.evaluate.suites import trial

    seed, robot = settings["seed"], settings["robot"]
    if name in SUITES:
        return trial(SUITES[name], seed, index, robot=robot)
    return rt2_trial(COLUMNS[name], seed, index, web=Path(settings["web"]), robot=robot)


def _trial(job: tuple[dict[str, Any], str, int]) -> tuple[str, dict[str, Any], str | None]:
    from vla_policy.evaluate.rollout import roll_out

    settings, name, index = job
    if not _worker:
        _prepare(settings)
    scene, task = _drawn(settings, name, index)
    rows = replan_interval_rows(_worker["policy"].rows, settings["execute_rows"])
    pace = Pace(round(settings["latency"] * 1e9), rows, settings["scheme"])
    outcome = roll_out(
        _worker["policy"], _worker["world"], scene, task,
        embodiment=_worker["robot"], pace=pace, moves=name not in SUITES or SUITES[name].moves,
        options=InferenceOptions(num_steps=settings["num_steps"]),
    )  # fmt: skip
    return name, outcome.to_dict(), _worker["policy"].head
