"""The recipe of the shipped policies from the command line: stage by stage, resumable."""

import argparse
from pathlib import Path

import torch

from vla_policy.formats.native.folder import load, save
from vla_policy.paths import find_policy
from vla_policy.train.tiny import multi_robot
from vla_policy.train.tiny.recipe import STAGES, TRAIN, fresh


def run_recipe(args: argparse.Namespace) -> int:
    """Train, then leave a checkpoint folder at OUT/checkpoint."""
    args.threads = args.threads or torch.get_num_threads()
    args.seed, args.batch = args.seed or 0, args.batch or 64
    if args.cross:
        for name in ("data", "embodiment"):
            if getattr(args, name) is not None:
                raise ValueError(
                    f"--{name}: got one beside --cross, whose folders name the robots"
                )
        args.out = Path(args.out or "runs/tiny")
        return multi_robot.run(args)
    if args.data and len(args.data) > 1:
        raise ValueError(f"--data: got {len(args.data)} folders, expected one without --policy")
    args.data, args.out = Path((args.data or ["data"])[0]), Path(args.out or "runs/tiny")
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
