"""A loaded policy: observation in, chunk of actions in robot units out. The only door to the networks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .contract import Contract
from .contract import check as check_contract
from .embodiment import Embodiment
from .families import FAMILIES
from .families.family import Family
from .models.weights import Checkpoint, load
from .paths import weights_dir
from .sampling import Sampling
from .types import ActionChunk, Array, Observation

HEADS = ("flow", "token")


@dataclass(frozen=True, slots=True)
class Policy:
    """A checkpoint with one of its heads. Holds no state between calls."""

    checkpoint: Checkpoint
    head: str

    @property
    def family(self) -> Family:
        """How this kind of model is fed and read."""
        return FAMILIES[self.checkpoint.family]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.checkpoint.device

    @property
    def contract(self) -> Contract:
        """What the checkpoint expects and produces."""
        return self.checkpoint.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk."""
        return self.family.rows(self.checkpoint, self.head)

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """Sentences that say how embodiment differs from the contract; empty if it fits."""
        return check_contract(self.contract, embodiment)

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
    ) -> ActionChunk:
        """The chunk of actions for observation.

        previous: the chunk in execution, for heads that continue it; without it frozen_rows and guidance_rows
        have no meaning. The other options: see Sampling.
        Raises ValueError if the observation does not fit the contract, the instruction is too long, or the head
        has no such option.
        """
        sampling = Sampling(
            seed=seed,
            num_steps=num_steps,
            solver=solver,
            guidance=guidance,
            previous=_left_of(previous, observation, self.contract.step_ns),
            frozen_rows=frozen_rows,
            guidance_rows=guidance_rows,
        )
        return self.infer_candidates(observation, sampling)[0]

    def infer_candidates(
        self, observation: Observation, sampling: Sampling
    ) -> tuple[ActionChunk, ...]:
        """sampling.candidates chunks for one observation, drawn in one batch. Raises as infer does."""
        started = time.perf_counter_ns()
        with torch.inference_mode():
            inputs = self.family.prepare(self.checkpoint, self.head, observation)
            sampled = self.family.sample(self.checkpoint, self.head, inputs, sampling)
        rows = [
            self.family.restore(self.checkpoint, m, observation) for m in sampled.model_actions
        ]
        infer_ns = time.perf_counter_ns() - started
        return tuple(
            ActionChunk(
                actions=row.actions,
                names=self.contract.action_names,
                obs_ns=observation.obs_ns,
                step_ns=self.contract.step_ns,
                sequence=0,
                instruction=observation.instruction,
                plan=sampled.plan[i] if sampled.plan else "",
                terminate=row.terminate,
                infer_ns=infer_ns,
                frozen_rows=sampling.frozen_rows,
                model_actions=sampled.model_actions[i],
            )
            for i, row in enumerate(rows)
        )

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """Where the model sees what the instruction names: target_xyz, destination_xyz, float64[3], base frame.

        Raises ValueError if this kind of model does not point.
        """
        if self.family.point is None:
            raise ValueError(f"a {self.checkpoint.family} model does not point")
        with torch.inference_mode():
            return self.family.point(self.checkpoint, observation)

    def ask(self, observation: Observation, question: str) -> str:
        """Answer in words of the same language model. tiny: "name" or "point" (image location tokens).

        Raises ValueError if this kind of model does not answer in words.
        """
        if self.family.ask is None:
            raise ValueError(f"a {self.checkpoint.family} model does not answer in words")
        with torch.inference_mode():
            return self.family.ask(self.checkpoint, observation, question)


def load_policy(name_or_path: str, *, head: str = "flow", device: str = "cpu") -> Policy:
    """Load a shipped policy by name or a checkpoint folder by path.

    Raises FileNotFoundError if neither exists, ValueError if the folder does not hold what it should or the
    checkpoint has no such head.
    """
    if head not in HEADS:
        raise ValueError(f"head: got {head!r}, expected one of {', '.join(HEADS)}")
    shipped = weights_dir() / name_or_path
    folder = shipped if shipped.is_dir() else Path(name_or_path)
    if not folder.is_dir():
        names = sorted(p.name for p in weights_dir().glob("*/")) if weights_dir().is_dir() else []
        raise FileNotFoundError(
            f"policy {name_or_path!r}: no folder of that path, and shipped are only: {', '.join(names) or 'none'}"
        )
    checkpoint = load(folder, device=device)
    if getattr(checkpoint.model.config, head) is None:
        raise ValueError(f"{folder}: this checkpoint has no {head} head")
    return Policy(checkpoint, head)


def _left_of(previous: ActionChunk | None, observation: Observation, step_ns: int) -> Array | None:
    """Model actions of previous from the row on that is due at the observation; None if nothing is left."""
    if previous is None or previous.model_actions is None:
        return None
    first = round((observation.obs_ns - previous.obs_ns) / step_ns)
    left = previous.model_actions[max(first, 0) :]
    return left if 0 <= first and len(left) else None
