"""`vla train RUN.yaml`: train any policy on recorded data; the same command goes on with a run that was stopped.

    vla train RUN.yaml                                 a run file, or the folder of a run, to go on with it
    vla train --policy FOLDER --data SET --out RUN     the common case without a file
    vla train tiny                                     the shipped `tiny` policy from generated data (docs/model.md)

docs/training.md has the rest. On several GPUs or machines: `torchrun ... -m vla_policy.cli train
RUN.yaml`.
"""

import argparse
from pathlib import Path
from typing import Any

ADAPTER_RATE = 1e-3  # without a file; an adapter needs a higher rate than the whole network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla train`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "run", nargs="?", help="run file, shipped run, or folder of a run to go on with"
    )
    parser.add_argument("--policy", help="shipped name, folder or policy file to start from")
    parser.add_argument("--data", nargs="+", metavar="SET", help="data sets")
    parser.add_argument("--out", help="run folder; a second call goes on")
    parser.add_argument(
        "--adapter",
        type=int,
        metavar="RANK",
        help="train only an adapter of that rank, saved alone",
    )
    parser.add_argument("--steps", type=int, help="in all (1000)")
    parser.add_argument("--batch", type=int, help="samples per step, over all processes (32)")
    parser.add_argument("--workers", type=int, help="processes that read data (1)")
    parser.add_argument("--seed", type=int, help="0")
    parser.add_argument("--threads", type=int, help="of PyTorch")


def run(args: argparse.Namespace) -> int:
    """Train, and write a checkpoint folder to OUT/checkpoint."""
    if args.run is None and args.policy is None:
        raise ValueError(
            "got neither a run file nor --policy, expected one of them; the shipped policies are made from "
            "generated data by `vla train tiny` and `vla train tiny_cross` (docs/model.md)"
        )
    from vla_policy.parsing.fields import Place
    from vla_policy.train.run_file import find_run, read_run, run_of
    from vla_policy.train.stages import has_stages, read_stages, train_stages

    given = {
        k: getattr(args, k)
        for k in ("policy", "out", "steps", "batch", "workers", "seed", "threads")
    }
    given = {key: value for key, value in given.items() if value is not None}
    if args.data:
        given["data"] = [{"set": name} for name in args.data]
    if args.adapter is not None:
        given["adapter"] = {"rank": args.adapter}
        if args.run is None:
            given["optimiser"] = {"learning_rate": ADAPTER_RATE}
    if args.run is None:
        only = run_of(given, Place("vla train"))
        return said(train_run(only), only.out)
    path = find_run(args.run)
    if path.parent == Path(args.run):  # the folder of a run, wherever it was moved to
        given.setdefault("out", args.run)
    if has_stages(path):
        stages = read_stages(path, **given)
        return said(train_stages(stages, train_run), str(Path(stages[0].run.out).parent))
    only = read_run(path, **given)
    return said(train_run(only), only.out)


def train_run(run: Any) -> Any:
    """Train one run; returns its progress."""
    import torch

    from vla_policy.train.lesson_setup import prepare_lesson
    from vla_policy.train.run import ACTIONS
    from vla_policy.train.setup import prepare
    from vla_policy.train.trainer import train

    if run.threads is not None:
        torch.set_num_threads(run.threads)
    result = train(run, prepare(run) if run.lesson == ACTIONS else prepare_lesson(run))
    if result.leads and not result.stopped:
        print(f"checkpoint: {run.out}/checkpoint; curves: {run.out}/curves.png")
    if result.leads and result.stopped:
        print(f"stopped after step {result.step} of {run.steps} in {run.out}; all of it is saved")
    return result


def said(result: Any, out: str) -> int:
    """Exit code 0, or 130 for a run that was interrupted."""
    if not (result.leads and result.stopped):
        return 0
    print(f"To go on: vla train {out}")
    return 130
