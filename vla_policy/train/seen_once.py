"""Demonstrations whose images a vision that does not learn has seen once.

Its answers about a frame are the same in every step, and it is the most expensive part of a small policy. They are
those of inference, so what is learned is learned from what will be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.training import Demonstration
from vla_policy.train.mixture import Source
from vla_policy.train.run import Run
from vla_policy.train.training_set import TrainingSet
from vla_policy.types import Array


@dataclass
class SeenOnce:
    """data, each frame looked at when it is first drawn with a sentence. Each loader process looks for itself."""

    data: TrainingSet
    checkpoint: Checkpoint
    label: str = field(init=False)
    _seen: dict[tuple[int, str], Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.label = self.data.label

    def __len__(self) -> int:
        return len(self.data)

    def where(self, index: int) -> str:
        """As TrainingSet.where."""
        return self.data.where(index)

    def sample(self, index: int, rng: np.random.Generator | None = None) -> Demonstration:
        """As TrainingSet.sample, with what was seen in place of images."""
        shown = self.data.blind(index, rng)
        said = shown.observation.instruction
        if (index, said) not in self._seen:
            observation = replace(self.data.sample(index).observation, instruction=said)
            training = FAMILIES[self.checkpoint.family].training
            if training is None or training.see is None:
                raise ValueError(f"{self.checkpoint.family}: its vision gives no answers to keep")
            self._seen[index, said] = training.see(self.checkpoint, observation)
        return replace(shown, seen=self._seen[index, said])


def seen_once(source: Source, checkpoint: Checkpoint) -> Source:
    """source, its images seen once where it has demonstrations."""
    return SeenOnce(source, checkpoint) if isinstance(source, TrainingSet) else source


def sees_once(checkpoint: Checkpoint, run: Run) -> bool:
    """Whether what a run's policy sees in a frame is the same in every step, and the family can tell it."""
    training = FAMILIES[checkpoint.family].training
    able = training is not None and training.see is not None
    changed = run.augment is not None or run.loss.instruction_dropout > 0.0
    return able and not changed and run.adapter is None and "vision" in run.freeze
