"""How actions are drawn from a model: one value that travels from `infer` to the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Array, readonly

SOLVERS = ("euler", "midpoint", "heun")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Options of one inference.

    seed: makes noise and tokens repeatable; None: a new one each time.
    num_steps: integration steps of a flow head; None: the checkpoint's own.
    solver: of the flow, one of SOLVERS.
    guidance: classifier-free weight on the instruction; 1 is the model as it is, 0 ignores the instruction.
    candidates: chunks drawn in one batch over the same prefix.
    previous: float64[t, m] model actions of the chunk in execution, row 0 where the new chunk has its row 0;
        None: nothing is continued. Its first frozen_rows rows are what will be executed meanwhile, rows up to
        guidance_rows pull the new chunk towards it (real-time chunking, arXiv:2506.07339).
    Raises ValueError naming the option.
    """

    seed: int | None = None
    num_steps: int | None = None
    solver: str = "euler"
    guidance: float = 1.0
    candidates: int = 1
    previous: Array | None = None
    frozen_rows: int = 0
    guidance_rows: int = 0

    def __post_init__(self) -> None:
        for name in ("num_steps", "candidates"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver: got {self.solver!r}, expected one of {', '.join(SOLVERS)}")
        if not np.isfinite(self.guidance):
            raise ValueError(f"guidance: got {self.guidance}, expected a finite number")
        if self.previous is not None:
            object.__setattr__(self, "previous", readonly(self.previous))
        rows = 0 if self.previous is None else len(self.previous)
        if not 0 <= self.frozen_rows <= rows:
            raise ValueError(
                f"frozen_rows: got {self.frozen_rows}, expected 0 .. {rows}, the rows left of the previous chunk"
            )
        if not 0 <= self.guidance_rows:
            raise ValueError(f"guidance_rows: got {self.guidance_rows}, expected at least 0")
