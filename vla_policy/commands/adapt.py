"""`vla adapt`: a policy learns a new thing or task from a few demonstrations, and keeps what it could.

    vla adapt --policy tiny --data sets/white --out runs/white                         a thing with a new name
    vla adapt --policy tiny --data sets/touch --replay sets/before --out runs/touch    anything else
    vla adapt --policy tiny --data sets/touch --own 60 --out runs/touch                the same, its first data gone

OUT/policy is a policy like any other. OUT/report.json and report.md tell new and old tasks before and after, in closed loop;
with --without also how it would be without preservation. The same words go on with what was stopped. docs/training.md tells what
learns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vla_policy.parsing.json_document import read_json, write_json

if TYPE_CHECKING:  # torch is loaded where it is used
    from vla_policy.checkpoint.checkpoint import Checkpoint
    from vla_policy.train.training_set import TrainingSet

BASE_SCENES, BASE_SEED = 600, 7
OWN_SEED = 6
PROGRESS = "progress.json"
POINT_STEPS, LOOK_STEPS, TASK_STEPS = 250, 600, 800
ADAPTER_RANK = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla adapt`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--policy", default="tiny", help="shipped name or folder to start from")
    parser.add_argument("--robot", default="vx300s", help="whose demonstrations they are")
    parser.add_argument("--data", required=True, metavar="SET", help="3 to 10 demonstrations")
    parser.add_argument("--out", type=Path, required=True, help="folder of policy and report")
    parser.add_argument(
        "--base", type=Path, metavar="SCENES", help="base scenes (`vla generate scenes`); made if not given"
    )  # fmt: skip
    parser.add_argument(
        "--replay", nargs="+", default=[], metavar="SET", help="demonstrations of what it could before, for a new task"
    )  # fmt: skip
    parser.add_argument(
        "--own", type=int, default=0, metavar="N",
        help="replay N episodes of the policy's own in the twin as well: where the data of before is gone",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="store_true", help="also adapt without preservation, to compare"
    )
    parser.add_argument("--trials", type=int, default=100, help="of new and of old tasks; 0: none")
    parser.add_argument("--new-suite", default="new_object", help="suite of the new tasks")
    parser.add_argument("--old-suite", default="pick_put", help="suite of the old ones")
    parser.add_argument("--head", choices=("flow", "token"), help="default: the policy's first")
    parser.add_argument("--seed", type=int, default=0, help="of learning and of the trials, 0..99")
    parser.add_argument(
        "--steps",
        type=int,
        help="of each part that is trained (an object: 250 of pointing, 600 of each second look; a task: 800)",
    )
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate of a task")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--renderer", default="auto", help="auto, egl, osmesa or raycast")


def run(args: argparse.Namespace) -> int:
    """Adapt, measure, report."""
    from vla_policy.evaluate.adaptation import BEFORE, WITH, WITHOUT
    from vla_policy.evaluate.suites import SUITES

    for name in (args.new_suite, args.old_suite):
        if name not in SUITES:
            raise ValueError(f"suite: got {name!r}, expected one of {', '.join(SUITES)}")
    if args.trials < 0 or (args.steps or 1) < 1 or not 0 <= args.seed <= 99 or args.workers < 1:
        raise ValueError(
            f"got --trials {args.trials}, --steps {args.steps}, --seed {args.seed}, --workers {args.workers}; "
            "expected at least 0, at least 1, 0 to 99, at least 1"
        )
    if args.own < 0:
        raise ValueError(f"--own: got {args.own}, expected 0 or more")
    settings = {
        k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items() if k != "verb"
    }
    report = _begun(args.out, settings)
    # What matters most first: a long measurement may be stopped.
    for name in (WITH, BEFORE, *((WITHOUT,) if args.without else ())):
        if name != BEFORE and name not in report["learned"]:
            started = time.process_time()
            folder, learned = _adapted(args, preserve=name == WITH)
            learned |= {"policy": folder, "cpu_s": round(time.process_time() - started, 1)}
            report["learned"][name] = learned
            write_json(args.out / PROGRESS, report)
            print(f"{name}: {json.dumps(learned)}", flush=True)
        if args.trials:
            policy = args.policy if name == BEFORE else report["learned"][name]["policy"]
            _measure(args, policy, report["policies"].setdefault(name, {}), report)
    if args.trials:
        _tell(args, report)
    (args.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"policy: {args.out / 'policy'}; report: {args.out / 'report.json'}")
    return 0


def _begun(out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The report as far as it is: of the same words that were stopped, or a new one.

    Raises ValueError for a folder of other words, or one that is finished.
    """
    path = out / PROGRESS
    if (out / "report.json").exists() or ((out / "policy").exists() and not path.exists()):
        raise ValueError(f"--out: got {out}, which has a policy already; expected a new folder")
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        return {"settings": settings, "learned": {}, "policies": {}}
    report: dict[str, Any] = read_json(path)
    changed = [k for k, v in settings.items() if report["settings"].get(k) != v]
    if changed:
        raise ValueError(
            f"--out: got {out}, which was begun with another {', '.join(changed)}; expected the same words, or a new folder"
        )
    return report


def _adapted(args: argparse.Namespace, *, preserve: bool) -> tuple[str, dict[str, Any]]:
    """Name of the adapted policy, and what was learned."""
    import torch

    from vla_policy.policy import load_local
    from vla_policy.train.setup import rows_of
    from vla_policy.train.tiny.new_word import is_new_word
    from vla_policy.train.training_set import open_training_set

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    checkpoint = load_local(args.policy, embodiment=args.robot, engine="off").checkpoint
    data = open_training_set(args.data, checkpoint.contract, rows=rows_of(checkpoint))
    said = [s for e in data.episodes for s in data.source.sentences(e, 0)[:1]]
    shown = {"demonstrations": len(data.episodes), "frames": len(data), "preserve": preserve}
    if checkpoint.language is not None and is_new_word(checkpoint.language, said):
        folder, learned = _thing(args, checkpoint, data, preserve=preserve)
    else:
        folder, learned = _task(args, checkpoint.family, preserve=preserve)
    return folder, shown | learned


def _thing(
    args: argparse.Namespace, checkpoint: Checkpoint, data: TrainingSet, *, preserve: bool
) -> tuple[str, dict[str, Any]]:
    """A thing with a name that is new: only what belongs to its name learns."""

    from vla_policy.formats.native.folder import save
    from vla_policy.train.tiny.new_thing import base_scenes, new_thing
    from vla_policy.train.tiny.point_at_word import PointSteps
    from vla_policy.train.tiny.see_word import SeeSteps

    adapted = new_thing(
        checkpoint,
        data,
        base_scenes(_base(args)),
        preserve=preserve,
        point=PointSteps(args.steps or POINT_STEPS, whole=not preserve, seed=args.seed),
        see=SeeSteps(args.steps or LOOK_STEPS, seed=args.seed),
    )
    folder = args.out / ("policy" if preserve else "without")
    save(folder, adapted.checkpoint)
    return str(folder), adapted.learned


def _task(args: argparse.Namespace, family: str, *, preserve: bool) -> tuple[str, dict[str, Any]]:
    """Anything else: a run of the trainer over the demonstrations and those of before, in equal parts.

    Of a small policy the vision stays as it is; of a large one all does, and an adapter learns.
    """
    from vla_policy.commands.train import ADAPTER_RATE, train_run
    from vla_policy.parsing.fields import Place
    from vla_policy.train.run_file import run_of

    if preserve and not (args.replay or args.own):
        raise ValueError(
            "--replay: got none, expected sets of what the policy could before (`vla generate episodes`), or --own N: "
            "a new task learned alone takes the place of the old ones"
        )
    out = args.out / ("run" if preserve else "run_without")
    sets = [*args.replay, *([_own(args)] if args.own else [])] if preserve else []
    replay = [{"set": s, "weight": 1.0 / len(sets)} for s in sets]
    small = family == "tiny"
    run = {
        "policy": args.policy,
        "robot": args.robot,
        "data": [{"set": args.data, "weight": 1.0}, *replay],
        "out": str(out),
        "steps": args.steps or TASK_STEPS,
        "optimiser": {"learning_rate": args.rate if small else ADAPTER_RATE},
        "checkpoints": {"every": 10_000, "keep": 1},
        "seed": args.seed,
        "workers": 0,
        "threads": 1,
    }
    if small:
        # The words of a new task begin as unknown ones: at a lower rate they still are when the run ends.
        run |= {"ema": 0.99, "loss": {"draws": 4}} | ({"freeze": ["vision"]} if preserve else {})
    else:
        run["adapter"] = {"rank": ADAPTER_RANK}
    result = train_run(run_of(run, Place("vla adapt")))
    if result.stopped:
        raise ValueError(f"stopped; `vla train {out}` goes on with the training")
    folder = args.out / ("policy" if preserve else "without")
    if not folder.is_symlink():
        folder.symlink_to(Path(out.name) / "checkpoint")
    name = str(folder) if small else f"{args.policy}+{folder}"
    return name, {"steps": run["steps"], "replay": sets}


def _own(args: argparse.Namespace) -> str:
    """The folder of episodes of the policy's own, made where it is not there."""
    from vla_policy.evaluate import own_episodes
    from vla_policy.policy import load_policy

    folder = Path(args.out) / "own"
    done = folder / "DONE"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was stopped
        policy = load_policy(args.policy, embodiment=args.robot, head=args.head)
        made = own_episodes.make_own_episodes(
            policy, args.robot, folder, args.own, OWN_SEED, args.renderer
        )
        done.write_text(f"{made.kept} of {made.tried} tasks\n")
        print(f"own episodes: {made.kept} of {made.tried} tasks", flush=True)
    return str(folder)


def _base(args: argparse.Namespace) -> Path:
    """The folder of base scenes, made where none is given."""
    if args.base is not None:
        return Path(args.base)
    from vla_policy.data.shards import shard_path
    from vla_policy.sim.demonstrations.generate import SHARD_ROWS, make_shards

    folder = Path(args.out) / "base"
    folder.mkdir(parents=True, exist_ok=True)
    rows = SHARD_ROWS["scenes"]
    jobs = [
        ("scenes", str(folder), i, i * rows, rows, BASE_SEED, "train", args.renderer, 0.0, args.robot, "")
        for i in range(BASE_SCENES // rows)
        if not shard_path(folder, i).exists()
    ]  # fmt: skip
    make_shards(jobs, args.workers, "scenes")
    return folder


def _measure(
    args: argparse.Namespace, policy: str, found: dict[str, Any], report: dict[str, Any]
) -> None:
    """Fill found, a part of report, with what is not in it yet."""
    from vla_policy.evaluate.adaptation import NEW, OLD, TrialPlan, refusals, tried

    asked = TrialPlan(
        {NEW: args.new_suite, OLD: args.old_suite},
        args.trials,
        args.robot,
        args.head,
        args.seed,
        args.workers,
        args.renderer,
    )
    for kind in asked.suites:
        if kind not in found:
            found[kind] = tried(policy, asked, kind)
            write_json(args.out / PROGRESS, report)
    if "refusals" not in found:
        found["refusals"] = refusals(policy, asked)
        write_json(args.out / PROGRESS, report)


def _tell(args: argparse.Namespace, report: dict[str, Any]) -> None:
    """Compare all with what was before, on the terminal and in report.md."""
    from rich.console import Console

    from vla_policy.evaluate.adaptation import BEFORE, differences, table

    policies = report["policies"]
    report["policies"] = {BEFORE: policies.pop(BEFORE)} | policies
    for found in policies.values():
        found["against_before"] = differences(report["policies"][BEFORE], found)
    lines = table(report)
    Console().print(lines, markup=False, soft_wrap=True)
    (args.out / "report.md").write_text(lines)
