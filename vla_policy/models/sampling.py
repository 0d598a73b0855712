"""Options of drawing actions from a model: one value passed from `infer` to the network."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vla_policy.types import Array, readonly

SOLVERS = ("euler", "midpoint", "heun")
PULLS = ("linear", "exp", "ones", "zeros")
MAX_CANDIDATES = 16  # of a node and of a server, where others wait


@dataclass(frozen=True, slots=True)
class Pull:
    """Strength of a flow head's guidance towards the previous chunk; see models/rtc.py.

    schedule: of the rows after the frozen ones, one of PULLS. max_weight: the paper's beta; below
    the number of integration steps the frozen rows are not reached (the paper: 5 and 5; lerobot:
    10 and 10). jacobian: through the network, as in the paper, at more than twice the cost; else
    its output is taken as independent of its input.
    """

    schedule: str = "exp"
    max_weight: float = 10.0
    jacobian: bool = False

    def __post_init__(self) -> None:
        if self.schedule not in PULLS:
            raise ValueError(
                f"schedule: got {self.schedule!r}, expected one of {', '.join(PULLS)}"
            )
        if not 0.0 < self.max_weight < np.inf:
            raise ValueError(
                f"max_weight: got {self.max_weight}, expected a finite number above 0"
            )


DEFAULT_PULL = Pull()


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """Options of one chunk: created once, where `infer` is called, and passed on unchanged.

    seed: makes noise and tokens repeatable; None: a new one each time.
    num_steps: integration steps of a flow head; None: the checkpoint's own.
    solver: of the flow, one of SOLVERS.
    guidance: classifier-free weight on the instruction; 1: none, 0 ignores the instruction.
    frozen_rows, guidance_rows: of the chunk in execution, whose row 0 is row 0 of the new chunk.
        The first frozen_rows rows will be executed meanwhile and are kept; rows up to
        guidance_rows guide the new chunk (real-time chunking, arXiv:2506.07339), as strongly as
        pull.
    candidates: chunks drawn in one batch over the same prefix, of which models.candidates chooses one.
    Raises ValueError naming the option.
    """

    seed: int | None = None
    num_steps: int | None = None
    solver: str = "euler"
    guidance: float = 1.0
    frozen_rows: int = 0
    guidance_rows: int = 0
    pull: Pull = DEFAULT_PULL
    candidates: int = 1

    def __post_init__(self) -> None:
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"num_steps: got {self.num_steps}, expected at least 1")
        if self.solver not in SOLVERS:
            raise ValueError(f"solver: got {self.solver!r}, expected one of {', '.join(SOLVERS)}")
        if not np.isfinite(self.guidance):
            raise ValueError(f"guidance: got {self.guidance}, expected a finite number")
        if self.candidates < 1:
            raise ValueError(f"candidates: got {self.candidates}, expected at least 1")


DEFAULT_OPTIONS = InferenceOptions()


@dataclass(frozen=True, slots=True)
class Sampling(InferenceOptions):
    """The options for a network, with the chunk in execution in the network's units.

    previous: float64[t, m] model actions of the chunk in execution; None: nothing is continued.
    known: bool[m], columns that previous determines; None: all.
    Raises ValueError naming the option.
    """

    previous: Array | None = None
    known: Array | None = None

    @classmethod
    def of(
        cls, options: InferenceOptions, *, previous: Array | None, known: Array | None
    ) -> Sampling:
        """These options, with the chunk in execution in the network's units."""
        values = {f.name: getattr(options, f.name) for f in fields(InferenceOptions)}
        return cls(**values, previous=previous, known=known)

    def __post_init__(self) -> None:
        InferenceOptions.__post_init__(self)
        if self.previous is not None:
            object.__setattr__(self, "previous", readonly(self.previous))
        if self.known is not None:
            object.__setattr__(self, "known", readonly(self.known, bool))
        rows = 0 if self.previous is None else len(self.previous)
        if not 0 <= self.frozen_rows <= rows:
            raise ValueError(
                f"frozen_rows: got {self.frozen_rows}, expected 0 .. {rows}, the rows left of the previous chunk"
            )
        if self.guidance_rows and not self.frozen_rows <= self.guidance_rows <= rows:
            raise ValueError(
                f"guidance_rows: got {self.guidance_rows}, expected {self.frozen_rows} .. {rows}, "
                "from the frozen rows to the rows left of the previous chunk"
            )

    @property
    def continues(self) -> bool:
        """Whether the new chunk continues the previous one."""
        return self.previous is not None and max(self.frozen_rows, self.guidance_rows) > 0

    @property
    def kept(self) -> Array | None:
        """float64[frozen_rows, m]: rows of the previous chunk that will be executed, or None."""
        if self.previous is None or self.frozen_rows == 0:
            return None
        return self.previous[: self.frozen_rows]
