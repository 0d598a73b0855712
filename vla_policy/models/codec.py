"""Actions as tokens, two codecs by name: RT-2's 256 equal bins and OpenVLA's 255 centres between 256 edges.

Both number their tokens 0 .. 255 ("bins"); the model maps bins to vocabulary ids.
Source: RT-2 (arXiv:2307.15818) section 3.2; OpenVLA (arXiv:2406.09246) section 3.2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vla_policy.types import Array


@dataclass(frozen=True, slots=True)
class UniformBins:
    """Equal bins over [-1, 1]. Bin i covers [-1 + 2 i / n, -1 + 2 (i + 1) / n), the last one is closed."""

    count: int = 256

    def encode(self, values: ArrayLike) -> Array:
        """float[...] in normalised units to int64[...] bins; values outside [-1, 1] get the outermost bin.

        Raises ValueError if a value is not finite.
        """
        units = _finite(values, "UniformBins.encode")
        whole = np.clip(np.floor((units + 1.0) * (self.count / 2)), 0, self.count - 1)
        return np.asarray(whole, np.int64)

    def decode(self, bins: ArrayLike) -> Array:
        """int[...] bins to float64[...] bin centres. Raises ValueError for a bin outside 0 .. count - 1."""
        whole = _within(bins, self.count, "UniformBins.decode")
        return np.asarray(-1.0 + (2.0 * whole + 1.0) / self.count)


@dataclass(frozen=True, slots=True)
class EdgeBins:
    """OpenVLA's: n edges linspace(-1, 1, n); bin i is [edge i, edge i + 1), decoded to its centre.

    There are n - 1 centres but n bins: only the value 1 has the last bin, which shares the last
    centre.
    """

    count: int = 256

    def encode(self, values: ArrayLike) -> Array:
        """float[...] in normalised units to int64[...] bins; values outside [-1, 1] get the outermost bin.

        Raises ValueError if a value is not finite.
        """
        units = _finite(values, "EdgeBins.encode")
        edges = np.linspace(-1.0, 1.0, self.count)
        return np.asarray(np.digitize(np.clip(units, -1.0, 1.0), edges) - 1)

    def decode(self, bins: ArrayLike) -> Array:
        """int[...] bins to float64[...] centres. Raises ValueError for a bin outside 0 .. count - 1."""
        whole = _within(bins, self.count, "EdgeBins.decode")
        edges = np.linspace(-1.0, 1.0, self.count)
        return np.asarray(((edges[:-1] + edges[1:]) / 2)[np.minimum(whole, self.count - 2)])


def _finite(values: ArrayLike, where: str) -> Array:
    units = np.asarray(values, dtype=np.float64)
    if not np.isfinite(units).all():
        raise ValueError(f"{where}: got a value that is not finite")
    return units


def _within(bins: ArrayLike, count: int, where: str) -> Array:
    whole = np.asarray(bins)
    if whole.size and not (0 <= whole.min() and whole.max() < count):
        raise ValueError(
            f"{where}: got bins {whole.min()}..{whole.max()}, expected 0..{count - 1}"
        )
    return whole
