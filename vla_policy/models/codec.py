"""Actions as tokens: RT-2's 256 equal bins per dimension (arXiv:2307.15818, section 3.2)."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class UniformBins:
    """Equal bins over [-1, 1]. Bin i covers [-1 + 2 i / n, -1 + 2 (i + 1) / n), the last one is closed.

    (OpenVLA's 255 centres between 256 edges are another codec.)
    """

    count: int = 256

    def encode(self, values: Array) -> Array:
        """float[...] in normalised units to int64[...] bins; values outside [-1, 1] get the outermost bin.

        Raises ValueError if a value is not finite.
        """
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("UniformBins.encode: got a value that is not finite")
        return np.clip(np.floor((values + 1.0) * (self.count / 2)), 0, self.count - 1).astype(
            np.int64
        )

    def decode(self, bins: Array) -> Array:
        """int[...] bins to float64[...] bin centres. Raises ValueError for a bin outside 0 .. count - 1."""
        bins = np.asarray(bins)
        if bins.size and not (0 <= bins.min() and bins.max() < self.count):
            raise ValueError(
                f"UniformBins.decode: got bins {bins.min()}..{bins.max()}, expected 0..{self.count - 1}"
            )
        return -1.0 + (2.0 * bins + 1.0) / self.count
