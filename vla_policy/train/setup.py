"""From a run to the loop's input: the initial checkpoint, its data, and a loader."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.families import FAMILIES
from vla_policy.families.training import Demonstration, Question, Training
from vla_policy.formats.load import load_checkpoint
from vla_policy.paths import find_policy
from vla_policy.policy import has_head
from vla_policy.train.augment import augmenter
from vla_policy.train.batches import Batch
from vla_policy.train.checkpoints import newest
from vla_policy.train.contract_of_set import contract_of_set
from vla_policy.train.loader import Loader
from vla_policy.train.mixture import Entry, Mixture, Sample
from vla_policy.train.new_robot import for_robot
from vla_policy.train.questions import Questions
from vla_policy.train.run import ACTIONS, Run
from vla_policy.train.seen_once import seen_once, sees_once
from vla_policy.train.sentences import taught
from vla_policy.train.statistics_of import statistics_of
from vla_policy.train.trainer import Work
from vla_policy.train.training_set import (
    TrainingSet,
    open_source,
    open_training_set,
    robot_of_source,
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What loader processes need of a network: its sizes, not its weights."""

    config: Any


@dataclass(frozen=True, slots=True)
class ExampleMaker:
    """Sample -> tensors; can be pickled to loader processes."""

    checkpoint: Checkpoint
    heads: tuple[str, ...]

    def __call__(self, sample: Sample) -> dict[str, Tensor]:
        training = training_of(self.checkpoint)
        if isinstance(sample.value, Demonstration):
            return training.example(self.checkpoint, self.heads, sample.value)
        if not isinstance(sample.value, Question):
            raise ValueError(f"{sample.where}: got a sample of a lesson, expected a demonstration")
        example = training.question(self.checkpoint, sample.value)
        if example is None:
            raise ValueError(
                f"{sample.where}: a {self.checkpoint.family} model does not learn from questions"
            )
        return example


def prepare(run: Run) -> Work:
    """The work of run, from its newest checkpoint if any.

    Raises FileNotFoundError or ValueError in one sentence: a policy that cannot be trained, heads
    that it lacks, data that does not match it, with episode and frame.
    """
    if run.lesson != ACTIONS:
        raise ValueError(f"lesson: got {run.lesson!r}, expected {ACTIONS!r} of recorded data")
    # The base of an adapter stays the original one, also when its run is resumed.
    first = run.adapter is not None or newest(Path(run.out)) is None
    checkpoint = start(run)
    training = training_of(checkpoint)
    if run.shard and checkpoint.family == "tiny":
        raise ValueError(
            "shard: got true for a tiny policy, expected false: it fits any device, and its layers run as often as "
            "the robots of a batch have arms"
        )
    robot_changed = first and not made_for_data(checkpoint, run)
    if robot_changed and run.adapter is not None:
        raise ValueError(
            f"adapter: got a policy for {', '.join(checkpoint.contract.embodiments)} and data of another robot, expected "
            "one that acts on it; train it whole first"
        )
    if robot_changed:
        checkpoint = for_robot(checkpoint, contract_for(checkpoint, run), run.cameras)
    rows = rows_of(checkpoint)
    learned = mixture_of(run, checkpoint, rows, part="train" if run.held_out.share else "all")
    if first:
        checkpoint = taught(checkpoint, run, tasks_of(learned))
        if run.statistics == "data" or (run.statistics == "auto" and robot_changed):
            checkpoint = replace(
                checkpoint, statistics=statistics_of(checkpoint, sets_of(learned))
            )
    lean = replace(checkpoint, model=Sizes(checkpoint.model.config), engine=None, naming=None)
    examples = ExampleMaker(lean, run.loss.heads)
    examples(learned.sample(0))  # mismatches are refused before a folder is created
    if sees_once(checkpoint, run):
        learned = learned.over(partial(seen_once, checkpoint=checkpoint))
    loader = Loader(learned, examples, training.collate, batch=run.at_once, workers=run.workers)
    held_out: tuple[Batch, ...] = ()
    if run.held_out.share:
        apart = mixture_of(run, checkpoint, rows, part="held_out")
        if sees_once(checkpoint, run):
            apart = apart.over(partial(seen_once, checkpoint=checkpoint))
        source = Loader(apart, examples, training.collate, batch=run.at_once, workers=0)
        held_out = tuple(islice(source.batches(0), run.held_out.batches))
    return Work(checkpoint, training, loader, held_out)


def start(run: Run) -> Checkpoint:
    """The checkpoint that the run starts or resumes with, in float32 on the CPU."""
    path = newest(Path(run.out)) if run.adapter is None else None
    checkpoint = load_checkpoint(
        path or find_policy(run.policy), device="cpu", dtype=torch.float32, embodiment=run.robot
    )
    if path is None and run.weights == "random":
        torch.manual_seed(run.seed)
        checkpoint = replace(
            checkpoint, model=FAMILIES[checkpoint.family].network(checkpoint.model.config)
        )
    return checkpoint


def training_of(checkpoint: Checkpoint) -> Training:
    """Its family's training record. Raises ValueError if it cannot be trained here."""
    training = FAMILIES[checkpoint.family].training
    if training is None:
        able = ", ".join(name for name, family in FAMILIES.items() if family.training is not None)
        raise ValueError(
            f"policy: got a {checkpoint.family} model, expected one that can be trained: {able}"
        )
    return training


def rows_of(checkpoint: Checkpoint) -> int:
    """Rows that a demonstration needs, for the longest chunk of any head."""
    family = FAMILIES[checkpoint.family]
    return max(family.rows(checkpoint, h) for h in family.heads if has_head(checkpoint, h))


def made_for_data(checkpoint: Checkpoint, run: Run) -> bool:
    """Whether the policy is for the robot of the first set."""
    data = run.data[0]
    robot = robot_of_source(open_source(Path(data.set), data.options), data.options)
    return robot.name in checkpoint.contract.embodiments


def contract_for(checkpoint: Checkpoint, run: Run) -> Contract:
    """For the robot of the first set.

    Raises ValueError if another robot's statistics were to stay.
    """
    if run.statistics == "policy":
        raise ValueError(
            f"statistics: got 'policy', whose numbers are of {', '.join(checkpoint.contract.embodiments)}; expected 'data'"
        )
    data = run.data[0]
    return contract_of_set(data.set, image_px=checkpoint.contract.image_px, options=data.options)


def mixture_of(run: Run, checkpoint: Checkpoint, rows: int, *, part: str) -> Mixture:
    """The samples of the run's sets, from one part of the episodes; all questions."""
    sets = [set_of(run, i, checkpoint, rows, part) for i in range(len(run.data))]
    robots = [Entry(s, d.weight) for s, d in zip(sets, run.data, strict=True)]
    if part == "held_out":
        return Mixture(robots, seed=run.seed)
    questions = [Entry(Questions(Path(q.file)), q.weight) for q in run.questions]
    augment = None if run.augment is None else augmenter(run.augment)
    return Mixture(robots, questions, seed=run.seed, robot_share=run.robot_share, augment=augment)


def set_of(run: Run, number: int, checkpoint: Checkpoint, rows: int, part: str) -> TrainingSet:
    data = run.data[number]
    options = replace(data.options, part=part, held_out=run.held_out.share)
    return open_training_set(data.set, checkpoint.contract, rows=rows, options=options)


def tasks_of(mixture: Mixture) -> list[str]:
    """All instructions of the sets and their rephrasings."""
    said: dict[str, None] = {}
    for data in sets_of(mixture):
        for episode in data.episodes:
            said |= dict.fromkeys(data.source.sentences(episode, 0))
        said |= dict.fromkeys(word for ways in data.options.phrasings.values() for word in ways)
        if data.options.instruction is not None:
            said[data.options.instruction] = None
    return list(said)


def sets_of(mixture: Mixture) -> list[TrainingSet]:
    """The sets of demonstrations in it."""
    return [entry.source for entry in mixture.entries if isinstance(entry.source, TrainingSet)]
