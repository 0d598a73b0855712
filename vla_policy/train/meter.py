"""Speed of a run, and the share of time waiting for data."""

import time

from vla_policy.train.batches import Batches


class Meter:
    """Measures between two readings. Single-threaded; the only use of a clock in the loop."""

    def __init__(self, batch: int, source: Batches, step: int) -> None:
        self.batch, self.source = batch, source
        self.begun = self.before = time.monotonic()
        self.step, self.waited_s = step, source.waited_s

    def read(self, step: int) -> dict[str, float]:
        """samples_per_s over all processes and the share of time waited for data, since the last reading."""
        now = time.monotonic()
        passed = max(now - self.before, 1e-9)
        said = {
            "seconds": round(now - self.begun, 3),
            "samples_per_s": round((step - self.step) * self.batch / passed, 3),
            "waited": round((self.source.waited_s - self.waited_s) / passed, 4),
        }
        self.before, self.step, self.waited_s = now, step, self.source.waited_s
        return said
