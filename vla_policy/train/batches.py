"""The training loop's interface to a loader: micro-batches by number, the same for every process.

Sample number p of a run is a pure function of (seed, p): which frame it is, how its image is changed, its noise. Micro-batch
number n holds the samples n * size to (n + 1) * size. So one process, several processes and a run that was resumed
see the same samples, and no part below the loop depends on the number of processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch on the CPU.

    tensors: by name, the first dimension is the sample. samples: which each is, for people: "cubes episode 3 frame 17".
    """

    tensors: dict[str, Tensor]
    samples: tuple[str, ...]


class Batches(Protocol):
    """A loader. waited_s: seconds so far for which the loop waited for it."""

    waited_s: float

    def batches(self, first: int, stride: int = 1) -> Iterator[Batch]:
        """Micro-batches number first, first + stride, ... without end; its workers end with it."""
