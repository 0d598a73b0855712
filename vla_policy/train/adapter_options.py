"""What of a network is learned as an adapter, and how it is saved."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """rank, alpha, dropout: LoRA's. alpha None: the rank, so that what is added counts once.

    targets: regular expressions over module names; empty: the family's own.
    whole: names of parts (Training.parts) that are learned whole beside them; None: the projections, if there are any.
    merge: checkpoints are whole folders with the adapter added in, not the adapter alone.
    """

    rank: int = 16
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    whole: tuple[str, ...] | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: got {self.rank}, expected at least 1")
        if not 0.0 < self.strength < math.inf:
            raise ValueError(f"alpha: got {self.alpha}, expected a number above 0")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout: got {self.dropout}, expected 0 to below 1")

    @property
    def strength(self) -> float:
        """alpha; the rank where it is not given."""
        return float(self.rank) if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """Of B A where it is added to a weight."""
        return self.strength / self.rank
