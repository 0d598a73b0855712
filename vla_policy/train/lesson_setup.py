"""From a lesson's run to the loop's input: one network for all robots, and the sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.frames import robot_of
from vla_policy.embodiment import load_embodiment
from vla_policy.families import FAMILIES
from vla_policy.families.tiny.columns import robot_columns
from vla_policy.families.tiny.lessons import ANSWERS, POINTING
from vla_policy.families.training import Training
from vla_policy.formats.load import load_checkpoint
from vla_policy.formats.native.folder import read_headers
from vla_policy.paths import find_policy
from vla_policy.train.batches import Batch
from vla_policy.train.begin import begin
from vla_policy.train.checkpoints import newest
from vla_policy.train.loader import Loader
from vla_policy.train.mixture import Entry, Mixture, Sample
from vla_policy.train.optimiser import part_of as part_of_network
from vla_policy.train.run import Run
from vla_policy.train.setup import Sizes, training_of
from vla_policy.train.tiny.answers import AnswerSource, open_answers, sources_of
from vla_policy.train.tiny.robots import contract_of, statistics_of
from vla_policy.train.tiny.scenes import SceneSource
from vla_policy.train.trainer import Work

VISION = "vision"
ANSWERS_FOLDER = "answers"


@dataclass(frozen=True, slots=True)
class LessonExamples:
    """Sample -> tensors, can be pickled to loader processes.

    checkpoints: one per mixture source.
    """

    checkpoints: tuple[Checkpoint, ...]
    lesson: str
    heads: tuple[str, ...]

    def __call__(self, sample: Sample) -> dict[str, Tensor]:
        checkpoint = self.checkpoints[sample.source]
        return lesson_of(checkpoint, self.lesson).example(checkpoint, self.heads, sample.value)


def prepare_lesson(run: Run) -> Work:
    """The work of run, from its newest checkpoint if it has one.

    Raises FileNotFoundError or ValueError in one sentence.
    """
    by_robot = checkpoints_of(run)
    first, *others = by_robot.values()
    training = lesson_of(first, run.lesson)
    own = [by_robot[robot_of(Path(data.set))] for data in run.data]
    own += [by_robot[robot_of(Path(asked.set))] for asked in run.asked]
    lean = tuple(replace(c, model=Sizes(c.model.config), engine=None, naming=None) for c in own)
    examples = LessonExamples(lean, run.lesson, run.loss.heads)
    learned, measured = mixtures(run, own)
    examples(learned.sample(0))  # mismatches are reported before the folder is created
    loader = Loader(learned, examples, training.collate, batch=run.at_once, workers=run.workers)
    held_out: tuple[Batch, ...] = ()
    if measured is not None:
        source = Loader(measured, examples, training.collate, batch=run.at_once, workers=0)
        held_out = tuple(islice(source.batches(0), run.held_out.batches))
    return Work(first, training, loader, held_out, tuple(others))


def lesson_of(checkpoint: Checkpoint, lesson: str) -> Training:
    """Raises ValueError for a lesson that the family lacks."""
    training = training_of(checkpoint)
    if lesson not in training.lessons:
        known = ", ".join(("actions", *training.lessons))
        raise ValueError(
            f"lesson: got {lesson!r}, a {checkpoint.family} model can be given: {known}"
        )
    return training.lessons[lesson]


def checkpoints_of(run: Run) -> dict[str, Checkpoint]:
    """The network that the run starts or resumes with, by robot, in the order of the data."""
    kept = newest(Path(run.out))
    path = kept or find_policy(run.policy)
    sets = [*(data.set for data in run.data), *(asked.set for asked in run.asked)]
    robots = list(dict.fromkeys(robot_of(Path(name)) for name in sets))
    each = {robot: _for_robot(path, robot) for robot in robots}
    first = each[robots[0]]
    model = first.model
    if kept is None and run.weights == "random":
        torch.manual_seed(run.seed)
        model = FAMILIES[first.family].network(model.config)
        if run.begin is not None:
            print(f"begun from {run.begin}; new: {', '.join(_begun(first, model, run.begin)) or 'nothing'}")  # fmt: skip
    if learns(run, model, training_of(first)):
        # Reports of absent objects depend on the features of the original vision.
        each = {robot: _blind(c) for robot, c in each.items()}
    return {robot: replace(c, model=model) for robot, c in each.items()}


def mixtures(run: Run, own: Sequence[Checkpoint]) -> tuple[Mixture, Mixture | None]:
    """The samples to learn, and those to measure. own: the checkpoint of each set, data first."""
    share = run.held_out.share
    if run.lesson == POINTING:
        learned = _scenes(run, "train" if share else "all", share)
        return learned, _scenes(run, "held_out", share) if share else None
    if run.lesson != ANSWERS:
        raise ValueError(f"lesson: got {run.lesson!r}, expected {POINTING} or {ANSWERS}")
    kept = Path(run.out).parent / ANSWERS_FOLDER
    data = [open_answers(c, Path(d.set), kept) for c, d in zip(own, run.data, strict=False)]
    robots = {
        part: [
            Entry(sources_of(answers, Path(d.set).name, part=part, held_out=share), d.weight)
            for answers, d in zip(data, run.data, strict=True)
        ]
        for part in (("train", "held_out") if share else ("train",))
    }
    asked = [
        Entry(_asked(run, c, a.set, a.most, kept), a.weight)
        for c, a in zip(own[len(data) :], run.asked, strict=True)
    ]
    seen = Mixture(robots["train"], asked, seed=run.seed, robot_share=run.robot_share)
    return seen, Mixture(robots["held_out"], seed=run.seed) if share else None


def learns(run: Run, model: torch.nn.Module, training: Training) -> bool:
    """Whether the lesson trains vision."""
    names = {part_of_network(name, training.parts) for name, _ in model.named_parameters()}
    return VISION in names and VISION not in run.freeze


def _scenes(run: Run, part: str, share: float) -> Mixture:
    sources = [SceneSource(Path(d.set), part=part, held_out=share) for d in run.data]
    entries = [Entry(s, d.weight) for s, d in zip(sources, run.data, strict=True)]
    return Mixture(entries, seed=run.seed)


def _asked(run: Run, checkpoint: Checkpoint, name: str, most: int | None, kept: Path) -> AnswerSource:  # fmt: skip
    """Questions about frames of a set; none for held-out frames of a set that is also learned."""
    answers = open_answers(checkpoint, Path(name), kept, most=most)
    share = run.held_out.share if name in {d.set for d in run.data} else 0.0
    part = "train" if share else "all"
    return sources_of(answers, Path(name).name, part=part, held_out=share, asks=True)


def _for_robot(path: Path, robot: str) -> Checkpoint:
    """The checkpoint at path for a robot, even one that it was not made for."""
    known = read_headers(path)
    made = any(robot in header.contract.embodiments for header in known.values())
    name = robot if made else next(iter(known))
    checkpoint = load_checkpoint(path, device="cpu", dtype=torch.float32, embodiment=name)
    if made:
        return checkpoint
    embodiment = load_embodiment(robot)
    contract = contract_of(embodiment, checkpoint.contract.image_px)
    body = robot_columns(contract, checkpoint.model.config.action_dim)
    statistics = statistics_of(embodiment, body)
    return replace(checkpoint, contract=contract, statistics=statistics, language=None)


def _begun(checkpoint: Checkpoint, model: torch.nn.Module, name: str) -> list[str]:
    source = find_policy(name)
    other = load_checkpoint(source, device="cpu", dtype=torch.float32, embodiment=next(iter(read_headers(source))))  # fmt: skip
    if other.tokenizer.get_vocab() != checkpoint.tokenizer.get_vocab():
        raise ValueError(f"begin: {name} has other words than the policy, expected the same ones")
    return begin(model, other.model.state_dict())


def _blind(checkpoint: Checkpoint) -> Checkpoint:
    language = checkpoint.language
    if language is not None:
        language = replace(language, least=None, accepts=None, second_look=None)
    return replace(checkpoint, language=language, naming=None)
