"""Gain and cost of adapting: success and refusals in new and old tasks, before and after."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import ControlLoop
from vla_policy.evaluate.metrics import summarise, wilson
from vla_policy.evaluate.parallel import run_trials
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.sim.world.world import World

BEFORE, WITH, WITHOUT = "before", "with preservation", "without preservation"
NEW, OLD = "new", "old"


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """suites: new and old tasks. trials: number for each. seed: of the evaluation scenes, 0 to 99."""

    suites: Mapping[str, str]
    trials: int
    robot: str
    head: str | None
    seed: int
    workers: int
    renderer: str


def tried(policy: str, asked: TrialPlan, kind: str) -> dict[str, Any]:
    """Success in new or in old tasks with its interval, failures and trials. kind: NEW or OLD."""
    settings = {
        "policy": policy, "robot": asked.robot, "head": asked.head, "seed": asked.seed, "execute_rows": 0,
        "latency": 0.1, "scheme": "receding", "num_steps": None, "device": "cpu", "renderer": asked.renderer, "web": "", "pictures": None,
    }  # fmt: skip
    args = argparse.Namespace(episodes=asked.trials, workers=asked.workers)
    suite = asked.suites[kind]
    outcomes, _ = run_trials(settings, [suite], args)
    rows = sorted(outcomes[suite], key=lambda r: r["seed"])
    return summarise(rows) | {"won": [r["success"] for r in rows]}


def refusals(policy: str, asked: TrialPlan) -> dict[str, Any]:
    """Number of instructions that the policy refuses at the first observation, as the nodes check it.

    new, old: instructions of those trials; their objects are present.
    absent: those of the new trials, in scenes of the old ones.
    """
    loaded = load_policy(policy, embodiment=asked.robot, head=asked.head)
    robot = load_embodiment(asked.robot)
    world = World(renderer=asked.renderer, robot=asked.robot)
    names, side = loaded.contract.state_names, loaded.contract.image_px
    refused = dict.fromkeys((NEW, OLD, "absent"), 0)
    for index in range(asked.trials):
        seen, said = {}, {}
        for kind, suite in asked.suites.items():
            scene, task = trial(SUITES[suite], asked.seed, index, robot=asked.robot)
            world.reset(scene)
            pilot = ControlLoop(world, robot)
            seen[kind], said[kind] = pilot.observe(task.instruction, names, side), task.instruction
        cases = {kind: seen[kind] for kind in asked.suites}
        cases["absent"] = replace(seen[OLD], instruction=said[NEW])
        for kind, observation in cases.items():
            words = loaded.understands(observation.instruction)
            refused[kind] += words is not None or loaded.sees(observation) is not None
    return {
        kind: {"refused": n, "of": asked.trials, "interval": wilson(n, asked.trials)}
        for kind, n in refused.items()
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Paired trials of old tasks: percentage points lost, and the trials that changed."""
    pairs = list(zip(before[OLD]["won"], after[OLD]["won"], strict=True))
    lost, won = (sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs))
    return {"points": 100.0 * (won - lost) / len(pairs), "lost": lost, "won": won}


def table(report: Mapping[str, Any]) -> str:
    """One row for each policy of the report."""
    lines = [
        "| policy | new tasks | 95 % interval | old tasks | 95 % interval | old, same trials | refused: new there | new absent | old there |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in report["policies"].items():
        cells = [name]
        for kind in (NEW, OLD):
            part = found[kind]
            low, high = part["interval"]
            cells += [
                f"{part['successes']}/{part['trials']} = {part['rate']:.1%}",
                f"{low:.1%} to {high:.1%}",
            ]
        change = found.get("against_before")
        cells.append(
            ""
            if change is None
            else f"{change['points']:+.1f} points, {change['lost']} lost, {change['won']} won"
        )
        cells += [
            f"{found['refusals'][k]['refused']}/{found['refusals'][k]['of']}"
            for k in (NEW, "absent", OLD)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
