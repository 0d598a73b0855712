"""`vla train`: make the shipped `tiny` policy from generated data, stage by stage, resumable."""

import argparse
import re

import numpy as np

from vla_policy.checkpoint import contract as contracts
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.statistics import RangeNormalizer, Statistics
from vla_policy.data.frames import load_frames
from vla_policy.embodiment import load_embodiment
from vla_policy.families.tool_steps import ROW, row_ranges
from vla_policy.models import config, tokenizer
from vla_policy.models.vla import VLA
from vla_policy.sim.scenes.scene import COLOURS, SHAPES
from vla_policy.train.loop import LoopSettings
from vla_policy.train.tiny import heads, pointing

STAGES = ("pointing", "heads")
POINTING_STEPS, HEADS_STEPS = 6000, 4000
HEADS_RATE = 1.5e-3
SCENES_ASKED = 8000  # of the scenes, for questions of name and place
# Ends of the model's units for the state: the workspace of the arm. For the actions: tool_steps.row_ranges.
STATE_RANGE = ([0.1, -0.4, 0.0, -1, -1, -1, -1, 0.0], [0.6, 0.4, 0.45, 1, 1, 1, 1, 1.0])


def fresh(args: argparse.Namespace) -> Checkpoint:
    """A `tiny` model of random weights, with a tokenizer of the words in the scenes."""
    embodiment, scenes = load_embodiment(args.embodiment), load_frames(args.data / "scenes")
    words = {
        w
        for row in scenes.texts
        for t in row
        for w in re.findall("[a-z0-9]+|[^a-z0-9 ]", t.lower())
    }
    words |= {*COLOURS, *SHAPES}
    tokens = tokenizer.build(words)
    contract = contracts.Contract(
        camera_names=("front", "wrist"),
        image_px=96,
        state_names=tuple(embodiment.state_names),
        action_names=tuple(embodiment.action_names),
        model_action_names=ROW,
        spaces=tuple((g.name, g.space) for g in embodiment.actions),
        policy_hz=float(embodiment.policy_hz),
        embodiments=(embodiment.name,),
    )
    statistics = Statistics(
        RangeNormalizer(contract.state_names, *map(np.array, STATE_RANGE)),
        row_ranges(),
    )
    return Checkpoint(VLA(config.tiny(tokens.get_vocab_size())), contract, statistics, tokens)


def train_pointing(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    """Stage one, in place."""
    pointing.train(
        checkpoint.model.vision, checkpoint.tokenizer, load_frames(args.data / "scenes"),
        load_frames(args.data / "scenes_val"), args.out,
        settings=LoopSettings(_steps(args.pointing_steps, POINTING_STEPS), 2e-3),
        batch_size=args.images, length=checkpoint.model.config.max_text, seed=args.seed,
    )  # fmt: skip


def train_heads(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    """Stage two, in place."""
    asked = _examples(checkpoint, args, "scenes", SCENES_ASKED)
    heads.train(
        checkpoint.model, checkpoint.tokenizer, _examples(checkpoint, args, "episodes"), [asked],
        args.out, settings=LoopSettings(
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
