"""Learning-rate schedules as plain functions of the step."""

import math


def cosine(step: int, steps: int, warmup: int) -> float:
    """Factor in (0, 1]: linear warm-up, then half a cosine down to 1 % at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
