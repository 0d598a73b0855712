"""Random numbers of a run: each is a pure function of the run's seed and of its purpose."""

import numpy as np
import torch
from torch import Tensor

HELD_OUT = 1  # 0 is for the learned samples


def seed_of(*numbers: int) -> int:
    """63 bits that differ whenever the numbers, 0 or more, differ."""
    words = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def sample_seeds(seed: int, first: int, count: int) -> Tensor:
    """int64[count]: for the samples number first, first + 1, ..."""
    return torch.tensor([seed_of(seed, 0, first + i) for i in range(count)])
