"""`vla train`: make the shipped `tiny` policy from generated data, stage by stage, resumable."""

import argparse
import re
from pathlib import Path

import torch

from .. import contract as contracts
from ..embodiment import load_embodiment
from ..formats.vla import load, save
from ..models import config, tokenizer
from ..models.vla import VLA
from ..models.weights import Checkpoint
from ..paths import find_policy
from ..stats import Range, Statistics
from . import heads, pointing
from .frames import load_frames
from .loop import Settings

STAGES = ("pointing", "heads")
POINTING_STEPS, HEADS_STEPS = 6000, 4000
HEADS_RATE = 1.5e-3
SCENES_ASKED = 8000  # of the scenes, for questions of name and place
# Ends of the model's units: workspace of the arm for the state, one 10 Hz step for the actions.
STATE_RANGE = ([0.1, -0.4, 0.0, -1, -1, -1, -1, 0.0], [0.6, 0.4, 0.45, 1, 1, 1, 1, 1.0])
ACTION_NAMES = ("terminate", "dx", "dy", "dz", "drx", "dry", "drz", "gripper")
ACTION_RANGE = (
    [0.0, -0.04, -0.04, -0.04, -0.1, -0.1, -0.1, 0.0],
    [1.0, 0.04, 0.04, 0.04, 0.1, 0.1, 0.1, 1.0],
)


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
        from . import cross

        for name in ("data", "embodiment"):
            if getattr(args, name) is not None:
                raise ValueError(
                    f"--{name}: got one beside --cross, whose folders name the robots"
                )
        return cross.run(args)
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


def fresh(args: argparse.Namespace) -> Checkpoint:
    """A `tiny` model of random weights, with a tokenizer of the words in the scenes."""
    embodiment, scenes = load_embodiment(args.embodiment), load_frames(args.data / "scenes")
    words = {
        w
        for row in scenes.texts
        for t in row
        for w in re.findall("[a-z0-9]+|[^a-z0-9 ]", t.lower())
    }
    words |= {*heads.COLOURS, *heads.SHAPES}
    tokens = tokenizer.build(words)
    contract = contracts.Contract(
        camera_names=("front", "wrist"),
        image_px=96,
        state_names=tuple(embodiment.state_names),
        action_names=tuple(embodiment.action_names),
        model_action_names=ACTION_NAMES,
        spaces=tuple((g.name, g.space) for g in embodiment.actions),
        policy_hz=float(embodiment.policy_hz),
        embodiments=(embodiment.name,),
    )
    statistics = Statistics(
        Range(contract.state_names, *STATE_RANGE), Range(ACTION_NAMES, *ACTION_RANGE)
    )
    return Checkpoint(VLA(config.tiny(tokens.get_vocab_size())), contract, statistics, tokens)


def train_pointing(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    """Stage one, in place."""
    pointing.train(
        checkpoint.model.vision, checkpoint.tokenizer, load_frames(args.data / "scenes"),
        load_frames(args.data / "scenes_val"), args.out,
        settings=Settings(_steps(args.pointing_steps, POINTING_STEPS), 2e-3),
        batch_size=args.images, length=checkpoint.model.config.max_text, seed=args.seed,
    )  # fmt: skip


def train_heads(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    """Stage two, in place."""
    asked = _examples(checkpoint, args, "scenes", SCENES_ASKED)
    heads.train(
        checkpoint.model, checkpoint.tokenizer, _examples(checkpoint, args, "episodes"), [asked],
        args.out, settings=Settings(
            _steps(args.heads_steps, HEADS_STEPS), HEADS_RATE if args.heads_rate is None else args.heads_rate
        ),
        batch_size=args.batch, draws=args.draws, seed=args.seed, held_out=args.held_out,
    )  # fmt: skip


TRAIN = {"pointing": train_pointing, "heads": train_heads}


def _examples(
    checkpoint: Checkpoint, args: argparse.Namespace, name: str, most: int | None = None
) -> heads.Examples:
    frames = load_frames(args.data / name)
    return heads.prepare(
        checkpoint.model.eval(), checkpoint.tokenizer, checkpoint.statistics,
        frames if most is None else frames.head(most), name, folder=args.out,
    )  # fmt: skip


def _steps(asked: int | None, usual: int) -> int:
    return usual if asked is None else asked


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    raise SystemExit(run(_parser.parse_args()))
