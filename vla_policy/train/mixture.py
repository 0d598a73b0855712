"""Several data sets, of several robots, and questions about images, as one endless stream of samples.

Sample number p is a pure function of (seed, p). So a resumed run continues as if it had never
stopped, and any number of processes that share the numbers use the same samples as one process.
There are no
epochs: every sample is drawn independently, with equal probability for all samples of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from vla_policy.families.training import Demonstration, Labelled, Question
from vla_policy.train.questions import PointingQuestion
from vla_policy.types import Array

EXPONENT = 0.43  # a set of n frames has the weight n^0.43, as in pi0 (arXiv:2410.24164, section V)
SEEDS = 2**62

Value: TypeAlias = Demonstration | Question | Labelled
Raw: TypeAlias = Value | PointingQuestion
Augment: TypeAlias = Callable[[Raw, np.random.Generator], Raw]


class Source(Protocol):
    """A source of a mixture: train/training_set.py, train/questions.py. Pickles into workers."""

    label: str

    def __len__(self) -> int: ...

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Raw:
        """One sample; rng draws its random parts. Raises ValueError naming the sample."""
        ...

    def where(self, index: int) -> str:
        """The sample as text, 'set, episode 3, frame 17'."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A source and its weight among the others of its kind; None: len(source)^0.43."""

    source: Source
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0.0 < self.weight < np.inf:
            raise ValueError(
                f"weight of {self.source.label}: got {self.weight}, expected a number above 0"
            )
        if not len(self.source):
            raise ValueError(f"{self.source.label}: got no samples, expected at least one")

    @property
    def share(self) -> float:
        """The weight before normalisation."""
        return len(self.source) ** EXPONENT if self.weight is None else self.weight


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the stream.

    source: index of the mixture's source, robots first. where: as text.
    seed: of the loss's draws for it, 0 to 2^62.
    """

    value: Value
    source: int
    where: str
    seed: int


class Mixture:
    """robots, questions: the sources.

    robot_share: of all samples; required if there are questions.
    augment: (sample, rng) -> sample; None: no changes, as in evaluation.
    Raises ValueError for no robots, or a share that contradicts the sources.
    """

    def __init__(
        self,
        robots: Sequence[Entry],
        questions: Sequence[Entry] = (),
        *,
        seed: int,
        robot_share: float | None = None,
        augment: Augment | None = None,
    ) -> None:
        if not robots and not questions:
            raise ValueError("mixture: got no data set, expected at least one")
        if robot_share is None and questions and robots:
            raise ValueError("robot_share: got none, expected the share of robot samples, 0 to 1")
        share = robot_share if robot_share is not None else float(bool(robots))
        if not 0.0 <= share <= 1.0 or (not robots and share) or (not questions and share != 1.0):
            kinds = f"{len(robots)} robot sets and {len(questions)} of questions"
            raise ValueError(f"robot_share: got {share}, expected a share that fits {kinds}")
        self.entries = (*robots, *questions)
        self.seed, self._augment = seed, augment
        parts = [_shares(robots) * share, _shares(questions) * (1.0 - share)]
        self.probabilities: Array = np.concatenate(parts)
        self._ends = np.cumsum(self.probabilities)
        self._ends[-1] = 1.0

    def over(self, change: Callable[[Source], Source]) -> Mixture:
        """The same stream, its sources changed into others of the same length."""
        changed = copy(self)
        changed.entries = tuple(Entry(change(e.source), e.weight) for e in self.entries)
        return changed

    def sample(self, number: int) -> Sample:
        """Sample number of the stream, from 0. Raises ValueError naming it."""
        rng = np.random.default_rng((self.seed, number))
        source, index = self._choose(rng)
        entry = self.entries[source].source
        raw = entry.sample(index, rng)
        seed = int(rng.integers(SEEDS))
        if self._augment is not None:
            raw = self._augment(raw, rng)
        value = raw.question() if isinstance(raw, PointingQuestion) else raw
        return Sample(value, source, entry.where(index), seed)

    def chosen(self, number: int) -> tuple[int, int]:
        """(source, its sample) of a number, without reading it."""
        return self._choose(np.random.default_rng((self.seed, number)))

    def where(self, number: int) -> str:
        """The sample as text, without reading it."""
        source, index = self.chosen(number)
        return self.entries[source].source.where(index)

    def _choose(self, rng: np.random.Generator) -> tuple[int, int]:
        source = int(np.searchsorted(self._ends, rng.random(), "right"))
        return source, int(rng.integers(len(self.entries[source].source)))


def _shares(entries: Sequence[Entry]) -> Array:
    """float64: share of each entry among those of its kind; they sum to 1."""
    shares = np.array([entry.share for entry in entries])
    return shares / shares.sum() if len(shares) else shares
