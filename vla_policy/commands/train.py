"""`vla train`: make the shipped `tiny` policy from generated data, stage by stage, resumable."""

import argparse
from pathlib import Path

import torch

from vla_policy.formats.native.folder import load, save
from vla_policy.paths import find_policy
from vla_policy.train.tiny.recipe import STAGES, TRAIN, fresh


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `vla train`."""
    parser.add_argument(
        "--data", type=Path, help="folder with scenes, scenes_val, episodes; none: data"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/tiny"), help="run folder; a second call resumes"
    )
    parser.add_argument(
        "--cross", type=Path, nargs="+", metavar="DATA",
        help="train one tiny_cross for several robots, from such a folder of each, instead",
    )  # fmt: skip
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument(
        "--init", help="checkpoint, by name or folder, to start from instead of random weights"
    )
    parser.add_argument("--embodiment", help="vx300s")
    parser.add_argument("--pointing-steps", type=int, help="6000, with --cross 1800")
    parser.add_argument("--heads-steps", type=int, help="4000, with --cross 4200")
    parser.add_argument(
        "--heads-rate", type=float, help="learning rate of the heads: 0.0015, with --cross 0.001"
    )
    parser.add_argument("--batch", type=int, default=64, help="frames per step of the heads stage")
    parser.add_argument(
        "--images", type=int, default=32, help="images per step of the pointing stage"
    )
    parser.add_argument("--draws", type=int, default=4, help="noise samples per frame")
    parser.add_argument(
        "--held-out", type=int, default=1500, help="last frames of the episodes that only measure"
    )
    parser.add_argument(
        "--episodes", type=int, default=500, help="with --cross: at most so many of each robot"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Train, then leave a checkpoint folder at OUT/checkpoint."""
    if args.cross:
        from vla_policy.train.tiny import multi_robot

        for name in ("data", "embodiment"):
            if getattr(args, name) is not None:
                raise ValueError(
                    f"--{name}: got one beside --cross, whose folders name the robots"
                )
        return multi_robot.run(args)
    args.data = args.data or Path("data")
    args.embodiment = args.embodiment or "vx300s"
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    stages = STAGES if args.stage == "all" else (args.stage,)
    folder = args.out / "checkpoint"
    start = folder if (folder / "config.json").is_file() else args.init
    if start is None and "pointing" not in stages:
        raise ValueError(f"--stage {args.stage}: {folder} has no checkpoint; name one: --init")
    checkpoint = fresh(args) if start is None else load(find_policy(str(start)))
    save(folder, checkpoint)
    size = sum(p.numel() for p in checkpoint.model.parameters())
    print(f"{checkpoint.model.config.name}: {size:,} parameters; run folder {args.out}")
    for stage in stages:
        TRAIN[stage](checkpoint, args)
        save(folder, checkpoint)
    print(f"checkpoint: {folder}")
    return 0
