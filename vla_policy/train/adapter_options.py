"""Which layers of a network are trained as an adapter, and how it is saved."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """rank, alpha, dropout: LoRA's. alpha None: equal to the rank, so that B A has the factor 1.

    targets: regular expressions over module names; empty: the family's default.
    whole: names of parts (Training.parts) that are trained in full beside them; None: the
    projections, if there are any.
    merge: checkpoints are full folders with the adapter merged, instead of the adapter alone.
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
        """alpha; the rank if it is not given."""
        return float(self.rank) if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """Factor of B A when it is added to a weight."""
        return self.strength / self.rank
