"""A checkpoint in memory. Reading its folders, and other projects': formats/."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from vla_policy.checkpoint.contract import Contract


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a policy needs, in memory.

    family: key of families.FAMILIES; it determines the types of model, statistics and tokenizer.
    settings: a frozen dataclass of the family's own; None if it has none.
    engine: the same calls as model, faster (models/engine); None: it has none, or it is switched off.
    language: which sentences it was trained on (families/language.py); None: unknown.
    naming: classifier of the objects at each location of an image (models/naming.py); None: absent objects are not reported.
    """

    model: Any
    contract: Contract
    statistics: Any
    tokenizer: Any
    family: str = "tiny"
    settings: Any = None
    engine: Any = None
    language: Any = None
    naming: Any = None

    @property
    def device(self) -> torch.device:
        """The device of the model's parameters."""
        weights: Iterator[torch.nn.Parameter] = self.model.parameters()
        return next(weights).device
