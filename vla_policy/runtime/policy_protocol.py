"""The interface of every policy: a network in this process, an expert, a script.

Inference, closed loop and nodes use policies only through this protocol; `policy.Policy` is the
one with a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vla_policy.models.sampling import DEFAULT_PULL, InferenceOptions, Pull, Sampling
from vla_policy.types import ActionChunk, Array, Observation, Reason


class Unavailable(ConnectionError):
    """No answer now, in one sentence: a server is lost, slow, busy or its reply is invalid.

    Not a failure of the model: the plan becomes stale, the robot holds, the next observation is
    tried.
    """


class ColumnsProtocol(Protocol):
    """The part of a contract that callers read: state and action columns, side of images."""

    @property
    def state_names(self) -> tuple[str, ...]: ...

    @property
    def action_names(self) -> tuple[str, ...]: ...

    @property
    def image_px(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PlainContract:
    """The contract of a policy without a checkpoint."""

    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    image_px: int = 96


class PolicyProtocol(Protocol):
    """The interface of a policy.

    rows: of a chunk. head: of a network; None without one. continues: whether infer can continue a
    chunk. Methods with an observation may raise Unavailable if the policy is on another machine.
    can_point, can_answer: whether point and ask are supported; else they raise ValueError.
    understanding: one sentence about what it reports of instructions it does not understand.
    """

    @property
    def contract(self) -> ColumnsProtocol: ...

    @property
    def rows(self) -> int: ...

    @property
    def head(self) -> str | None: ...

    @property
    def continues(self) -> bool: ...

    @property
    def can_point(self) -> bool: ...

    @property
    def can_answer(self) -> bool: ...

    @property
    def understanding(self) -> str: ...

    def understands(self, instruction: str) -> Reason | None:
        """Why the instruction cannot be followed; None if it can, or if unknown."""

    def sees(self, observation: Observation) -> Reason | None:
        """What the instruction names and no image shows; None if all is shown, or if unknown."""

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """The chunk of actions for observation.

        previous: the plan in execution, to continue if options say so and it is supported, and to choose among candidates.
        """

    def infer_candidates(
        self, observation: Observation, sampling: Sampling
    ) -> tuple[ActionChunk, ...]:
        """sampling.candidates chunks for one observation."""

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """Position of the object in the instruction: target_xyz, float64[3], base frame, m."""

    def ask(self, observation: Observation, question: str) -> str:
        """Its answer as text."""


class KeywordInfer:
    """infer with keyword options, for people and scripts, for any class with infer_chunk."""

    __slots__ = ()

    def infer(
        self,
        observation: Observation,
        previous: ActionChunk | None = None,
        *,
        seed: int | None = None,
        num_steps: int | None = None,
        solver: str = "euler",
        guidance: float = 1.0,
        frozen_rows: int = 0,
        guidance_rows: int = 0,
        pull: Pull = DEFAULT_PULL,
        candidates: int = 1,
    ) -> ActionChunk:
        """The chunk of actions for observation.

        previous: the plan in execution as a chunk whose row 0 is due at the observation
        (execution.resampling.aligned), for heads that continue it, and to choose among candidates;
        without it frozen_rows and guidance_rows must be 0. The other options: see models.sampling.InferenceOptions.
        Raises ValueError if the observation does not match the contract, the instruction is too
        long, or the head does not support an option.
        """
        options = InferenceOptions(
            seed=seed,
            num_steps=num_steps,
            solver=solver,
            guidance=guidance,
            frozen_rows=frozen_rows,
            guidance_rows=guidance_rows,
            pull=pull,
            candidates=candidates,
        )
        return self.infer_chunk(observation, previous, options)

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """As in PolicyProtocol; implemented by subclasses."""
        raise NotImplementedError


class PlainPolicy(KeywordInfer):
    """A policy that can only infer; subclasses add contract, rows and infer_chunk."""

    head: str | None = None
    continues: bool = False
    can_point: bool = False
    can_answer: bool = False
    understanding: str = "this policy cannot tell which sentences it does not understand"

    def understands(self, instruction: str) -> Reason | None:
        """None: any sentence may be tried."""
        return None

    def sees(self, observation: Observation) -> Reason | None:
        """None: unknown."""
        return None

    def infer_candidates(
        self, observation: Observation, sampling: Sampling
    ) -> tuple[ActionChunk, ...]:
        """Raises ValueError."""
        raise ValueError("this policy draws no candidates")

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """Raises ValueError."""
        raise ValueError("this policy does not point")

    def ask(self, observation: Observation, question: str) -> str:
        """Raises ValueError."""
        raise ValueError("this policy answers no questions")
