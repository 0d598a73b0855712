"""The training loop's interface to a loader: micro-batches by number, the same for every process.

Sample number p of a run is a pure function of (seed, p): its frame, its image changes, its noise.
Micro-batch number n holds the samples n * size to (n + 1) * size. So one process, several
processes and a resumed run use the same samples, and no part below the loop depends on the number
of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch on the CPU.

    tensors: by name, the first dimension is the sample. samples: as text: "cubes episode 3 frame
    17".
    """

    tensors: dict[str, Tensor]
    samples: tuple[str, ...]


class Batches(Protocol):
    """A loader. waited_s: total time that the loop has waited for it, s."""

    waited_s: float

    def batches(self, first: int, stride: int = 1) -> Iterator[Batch]:
        """Micro-batches number first, first + stride, ... endlessly; its workers end with it."""
