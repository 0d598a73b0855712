"""`vla train RUN.yaml`: train any policy on recorded data; the same command goes on with a run that was stopped.

    vla train RUN.yaml                                 a run file, or the folder of a run, to go on with it
    vla train --policy FOLDER --data SET --out RUN     the common case without a file
    vla train --data data --out runs/tiny              the shipped `tiny` policy from generated data

docs/training.md tells the rest. On several GPUs or machines: `torchrun ... -m vla_policy.cli train RUN.yaml`.
"""

import argparse
from pathlib import Path
from typing import Any

ADAPTER_RATE = 1e-3  # without a file; an adapter bears, and needs, more than the network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla train`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "run", nargs="?", help="run file, shipped run, or folder of a run to go on with"
    )
    parser.add_argument("--policy", help="shipped name, folder or policy file to start from")
    parser.add_argument("--data", nargs="+", metavar="SET", help="data sets; without --policy and RUN the folder of generated data")  # fmt: skip
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
    # What only the recipe of the shipped policies has.
    parser.add_argument(
        "--cross", type=Path, nargs="+", metavar="DATA",
        help="train one tiny_cross for several robots, from such a folder of each, instead",
    )  # fmt: skip
    parser.add_argument("--stage", choices=("all", "pointing", "heads"), default="all")
    parser.add_argument("--init", help="checkpoint, by name or folder, to start from instead of random weights")  # fmt: skip
    parser.add_argument("--embodiment", help="vx300s")
    parser.add_argument("--pointing-steps", type=int, help="6000, with --cross 1800")
    parser.add_argument("--heads-steps", type=int, help="4000, with --cross 4200")
    parser.add_argument("--heads-rate", type=float, help="learning rate of the heads: 0.0015, with --cross 0.001")  # fmt: skip
    parser.add_argument("--images", type=int, default=32, help="images per step of the pointing stage")  # fmt: skip
    parser.add_argument("--draws", type=int, default=4, help="noise samples per frame")
    parser.add_argument("--held-out", type=int, default=1500, help="last frames of the episodes that only measure")  # fmt: skip
    parser.add_argument("--episodes", type=int, default=500, help="with --cross: at most so many of each robot")  # fmt: skip
    parser.add_argument("--threads", type=int, help="of PyTorch")


def run(args: argparse.Namespace) -> int:
    """Train, and leave a checkpoint folder at OUT/checkpoint."""
    if args.run is None and args.policy is None:
        from vla_policy.train.tiny.command import run_recipe

        if args.adapter is not None:
            raise ValueError(
                "--adapter: got it without --policy or a run file, expected one of them"
            )
        return run_recipe(args)
    for name in ("cross", "init", "embodiment"):
        if getattr(args, name) is not None:
            raise ValueError(
                f"--{name}: got it beside a run file or --policy, expected it without them"
            )
    from vla_policy.parsing.fields import Place
    from vla_policy.train.run_file import find_run, read_run, run_of

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
        return train_run(run_of(given, Place("vla train")))
    path = find_run(args.run)
    if path.parent == Path(args.run):  # the folder of a run, wherever it is now
        given.setdefault("out", args.run)
    return train_run(read_run(path, **given))


def train_run(run: Any) -> int:
    """Exit code 0, or 130 for a run that was asked to stop."""
    import torch

    from vla_policy.train.setup import prepare
    from vla_policy.train.trainer import train

    if run.threads is not None:
        torch.set_num_threads(run.threads)
    outcome = train(run, prepare(run))
    if not outcome.leads:
        return 0
    if outcome.stopped:
        print(f"stopped after step {outcome.step} of {run.steps}; all of it is saved. To go on: vla train {run.out}")  # fmt: skip
        return 130
    print(f"checkpoint: {run.out}/checkpoint; curves: {run.out}/curves.png")
    return 0
