"""A loaded policy: observation in, chunk of actions in robot units out.

The only access to the networks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract, check_middles
from vla_policy.checkpoint.contract import check as check_contract
from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.embodiment import Embodiment
from vla_policy.families import FAMILIES
from vla_policy.families.family import Expressed, Family
from vla_policy.formats.adapter import fingerprint, read_adapter, with_adapter
from vla_policy.formats.load import load_checkpoint
from vla_policy.models.candidates import chosen
from vla_policy.models.fitting import Scaling
from vla_policy.models.sampling import InferenceOptions, Sampling
from vla_policy.paths import find_policy, split_adapter
from vla_policy.remote.address import is_remote
from vla_policy.remote.handshake import statistics_hash
from vla_policy.runtime.instruction import refuse_instruction
from vla_policy.runtime.policy_protocol import KeywordInfer
from vla_policy.types import ActionChunk, Array, Observation, Reason, required

if TYPE_CHECKING:
    from vla_policy.remote.client import Remote

HEADS = ("flow", "token")
ENGINES = ("auto", "off")
TELLS = 0.1  # largest accepted share of absent objects taken for present ones
KINDS = {"thing": "colour and shape", "shape": "shape alone", "colour": "colour alone"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Policy(KeywordInfer):
    """A checkpoint with one of its heads. Holds no state between calls.

    weights_hash: of the values of its network; empty if not computed.
    """

    checkpoint: Checkpoint
    head: str
    weights_hash: str = ""

    @property
    def family(self) -> Family:
        """The family's functions: inputs, sampling and outputs of this kind of model."""
        return FAMILIES[self.checkpoint.family]

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return self.checkpoint.device

    @property
    def contract(self) -> Contract:
        """The checkpoint's inputs and outputs."""
        return self.checkpoint.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk."""
        return self.family.rows(self.checkpoint, self.head)

    @property
    def continues(self) -> bool:
        """Whether the head can continue a chunk in execution (real-time chunking)."""
        return self.head == "flow" and self.family.express is not None

    @property
    def guided(self) -> bool:
        """Whether it takes a weight of the instruction (guidance) other than 1."""
        return self.head == "flow" and self.family.guided

    @property
    def can_point(self) -> bool:
        """Whether point() is supported: positions of the objects that the instruction names."""
        return self.family.point is not None

    @property
    def can_answer(self) -> bool:
        """Whether ask() is supported: answers to questions as text."""
        return self.family.ask is not None

    @property
    def looks_at_state(self) -> bool:
        """Whether it uses the robot's state."""
        return self.family.needs_state(self.contract)

    @property
    def square_px(self) -> int | None:
        """Side of the square to which images may be scaled (models.fitting), or None."""
        return self.contract.image_px if self.family.fits_square else None

    @property
    def scaling(self) -> Scaling | None:
        """How images may be made smaller before but for the rounding (models.fitting); None: not said, or square_px."""
        return None if self.family.scaling is None else self.family.scaling(self.checkpoint)

    @property
    def middles(self) -> Mapping[str, float]:
        """State column -> mean or middle in training, if the statistics have one; else empty."""
        state = getattr(self.checkpoint.statistics, "state", None)
        return state.middles if isinstance(state, Normalizer) else {}

    @property
    def statistics_hash(self) -> str:
        """Hash of the normalisation statistics, which identical columns do not imply."""
        plain = self.family.statistics.to_dict(self.checkpoint.statistics)
        return statistics_hash(plain)

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """One sentence for each difference of embodiment and contract; empty if it matches."""
        problems = check_contract(self.contract, embodiment)
        return problems + check_middles("statistics", self.middles, embodiment)

    @property
    def understanding(self) -> str:
        """One sentence about what this policy reports of instructions it cannot follow."""
        if self.family.understand is None or self.checkpoint.language is None:
            return "this policy cannot tell which sentences it does not understand: it tries any"
        if (beyond := self.checkpoint.language.beyond) is not None:
            return (
                f"this policy tries any command; it refuses {1 - beyond['accepts']:.0%} of what it does not see, "
                f"and {beyond['refuses']:.0%} of what is there"
            )
        looks = self.family.see is not None and self.checkpoint.naming is not None
        if not looks or self.checkpoint.language.least is None:
            return "this policy refuses sentences that it was not trained on; it cannot tell what it does not see"
        words = "this policy refuses sentences that it was not trained on"
        accepts = self.checkpoint.language.accepts or {}
        if not accepts or (worst := max(accepts.values())) <= TELLS:
            return f"{words} and things that it does not see"
        sure = " or ".join(KINDS[kind] for kind, part in accepts.items() if part <= TELLS)
        but = f" unless it is named by {sure}" if sure else ""
        return f"{words}; it cannot tell reliably what it does not see{but}: up to {worst:.0%} of what is not there is tried"

    def understands(self, instruction: str) -> Reason | None:
        """Why instruction cannot be understood; None if it can, or if undecided."""
        if (problem := refuse_instruction(instruction)) is not None:
            return Reason("words", problem)
        if self.family.understand is None:
            return None
        return self.family.understand(self.checkpoint, instruction)

    def sees(self, observation: Observation) -> Reason | None:
        """What the instruction names and no image shows; None if nothing, or undecided."""
        if self.family.see is None:
            return None
        with torch.inference_mode():
            return self.family.see(self.checkpoint, observation)

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """infer with its options as one value."""
        continues = bool(options.guidance_rows or options.frozen_rows)
        compares = options.candidates > 1 and self.family.express is not None
        plan = self._expressed(previous, observation) if continues or compares else None
        expressed = plan if continues else None
        sampling = Sampling.of(
            options,
            previous=None if expressed is None else expressed.model_actions,
            known=None if expressed is None else expressed.known,
        )
        drawn = self.infer_candidates(observation, sampling)
        chunk = drawn[0] if len(drawn) == 1 else _nearest(drawn, plan)
        return chunk if expressed is None or previous is None else _continuing(chunk, previous)

    def infer_candidates(
        self, observation: Observation, sampling: Sampling
    ) -> tuple[ActionChunk, ...]:
        """sampling.candidates chunks for one observation, drawn in one batch. Raises as infer."""
        if (continued := max(sampling.frozen_rows, sampling.guidance_rows)) > self.rows:
            raise ValueError(
                f"previous: got {continued} rows to continue, expected at most the {self.rows} of a chunk"
            )
        started = time.perf_counter_ns()
        # Tensors created in inference_mode can never be differentiated.
        through = sampling.continues and sampling.pull.jacobian
        with torch.no_grad() if through else torch.inference_mode():
            inputs = self.family.prepare(self.checkpoint, self.head, observation)
            sampled = self.family.sample(self.checkpoint, self.head, inputs, sampling)
        infer_ns = time.perf_counter_ns() - started
        plans = sampled.plan or ("",) * len(sampled.model_actions)
        return tuple(
            self._chunk(model_actions, observation, infer_ns, plan, sampling.frozen_rows)
            for model_actions, plan in zip(sampled.model_actions, plans, strict=True)
        )

    @property
    def can_batch(self) -> bool:
        """Whether infer_many draws the chunks of several observations in one batch."""
        return self.head == "flow" and self.family.sample_many is not None

    def infer_many(
        self, observations: Sequence[Observation], options: Sequence[InferenceOptions]
    ) -> tuple[ActionChunk, ...]:
        """One chunk for each of several observations, in one batch; only seeds differ in options.

        Raises as infer if any of them is invalid, and ValueError if can_batch is false.
        """
        if self.family.sample_many is None or not self.can_batch:
            raise ValueError(
                f"the {self.head} head of a {self.checkpoint.family} model takes one observation"
            )
        samplings = [Sampling.of(o, previous=None, known=None) for o in options]
        started = time.perf_counter_ns()
        with torch.inference_mode():
            inputs = [self.family.prepare(self.checkpoint, self.head, o) for o in observations]
            drawn = self.family.sample_many(self.checkpoint, inputs, samplings)
        infer_ns = time.perf_counter_ns() - started
        return tuple(
            self._chunk(model_actions, observation, infer_ns)
            for model_actions, observation in zip(drawn, observations, strict=True)
        )

    def _chunk(
        self,
        model_actions: Array,
        observation: Observation,
        infer_ns: int,
        plan: str = "",
        frozen: int = 0,
    ) -> ActionChunk:
        row = self.family.restore(self.checkpoint, model_actions, observation)
        return ActionChunk(
            actions=row.actions,
            names=self.contract.action_names,
            obs_ns=observation.obs_ns,
            step_ns=self.contract.step_ns,
            sequence=0,
            instruction=observation.instruction,
            plan=plan or row.plan,
            terminate=row.terminate,
            infer_ns=infer_ns,
            frozen_rows=frozen,
            model_actions=model_actions,
        )

    def _expressed(
        self, previous: ActionChunk | None, observation: Observation
    ) -> Expressed | None:
        if previous is None:
            return None
        if self.family.express is None:
            raise ValueError(f"previous: a {self.checkpoint.family} model cannot continue a chunk")
        if (previous.obs_ns, previous.step_ns) != (observation.obs_ns, self.contract.step_ns):
            raise ValueError(
                f"previous: got rows from {previous.obs_ns} ns on, every {previous.step_ns} ns, "
                f"expected from the observation at {observation.obs_ns} ns, every {self.contract.step_ns} ns"
            )
        if previous.names != self.contract.action_names:
            raise ValueError(
                f"previous: got columns {previous.names}, expected {self.contract.action_names}"
            )
        return self.family.express(self.checkpoint, previous, observation)

    def point(self, observation: Observation) -> Mapping[str, Array]:
        """Positions of objects in the instruction, m in the base frame.

        target_xyz, destination_xyz: float64[3].

        Raises ValueError if this kind of model does not point.
        """
        if self.family.point is None:
            raise ValueError(f"a {self.checkpoint.family} model does not point")
        with torch.inference_mode():
            return self.family.point(self.checkpoint, observation)

    def ask(self, observation: Observation, question: str) -> str:
        """The same language model's answer as text. rt2: any question.

        tiny: "name" or "point" (image location tokens).

        Raises ValueError if this kind of model answers no questions.
        """
        if self.family.ask is None:
            raise ValueError(f"a {self.checkpoint.family} model answers no questions")
        with torch.inference_mode():
            return self.family.ask(self.checkpoint, observation, question)


def _nearest(drawn: Sequence[ActionChunk], plan: Expressed | None) -> ActionChunk:
    """The one to follow; plan: what is being executed, if anything is."""
    actions = np.stack([required(chunk.model_actions, "model_actions") for chunk in drawn])
    if plan is None:
        return drawn[chosen(actions, None)]
    return drawn[chosen(actions, plan.model_actions, plan.known)]


def _continuing(chunk: ActionChunk, previous: ActionChunk) -> ActionChunk:
    """chunk with the frozen rows exactly as they are executed, whatever the network predicted."""
    actions = np.concatenate(
        (previous.actions[: chunk.frozen_rows], chunk.actions[chunk.frozen_rows :])
    )
    return replace(chunk, actions=actions, continues=previous.sequence)


def load_policy(
    name_or_path: str,
    *,
    embodiment: str | None = None,
    head: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    engine: str = "auto",
) -> Policy | Remote:
    """Load a shipped policy by name, a checkpoint folder, or a policy file (config/policies/*.yaml).

    BASE+ADAPTER is one of these with the adapter of a folder merged into its weights
    (formats/adapter.py).
    A name ws://host:port or wss://host:port is the policy served there by `vla serve`, a policy
    file with `server:` that of another project's server; device, dtype and engine are then chosen
    on that machine. Raises Unavailable, a ConnectionError, if there is no answer.

    embodiment: name of the robot, required if the checkpoint is for several; whether a checkpoint
    for a single robot matches is the result of Policy.check. head: "flow" or "token"; None: the
    first of the checkpoint. dtype: "float32" or "bfloat16" for the weights; None: as in the
    files. engine: "auto" runs the flow head of pi0 and pi0.5 on models/engine, "off" on the plain
    networks.
    Raises FileNotFoundError if there is no such policy, ValueError if it is invalid, lacks the
    head, or is for several robots and not for embodiment.
    """
    if is_remote(name_or_path):
        from vla_policy.remote.client import (
            connect_policy,  # local policies need no network
        )

        return connect_policy(name_or_path, head)
    return load_local(
        name_or_path, embodiment=embodiment, head=head, device=device, dtype=dtype, engine=engine
    )


def load_local(
    name_or_path: str,
    *,
    embodiment: str | None = None,
    head: str | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    engine: str = "auto",
) -> Policy:
    """load_policy for a policy whose network runs in this process."""
    if head is not None and head not in HEADS:
        raise ValueError(f"head: got {head!r}, expected one of {', '.join(HEADS)}")
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    if engine not in ENGINES:
        raise ValueError(f"engine: got {engine!r}, expected one of {', '.join(ENGINES)}")
    base, folder = split_adapter(name_or_path)
    path, adapter = find_policy(base), None if folder is None else read_adapter(folder)
    checkpoint = load_checkpoint(
        path, device=device, dtype=DTYPES.get(dtype or ""), embodiment=embodiment
    )
    if adapter is not None:
        checkpoint = with_adapter(checkpoint, adapter)
    heads = [h for h in FAMILIES[checkpoint.family].heads if has_head(checkpoint, h)]
    if head is not None and head not in heads:
        raise ValueError(f"{path}: this checkpoint has no {head} head, only {' and '.join(heads)}")
    head = head or heads[0]
    weights = f"sha256:{fingerprint(checkpoint.model)[:32]}"  # before an engine frees the weights
    make = FAMILIES[checkpoint.family].engine
    if engine == "auto" and head == "flow" and make is not None:
        checkpoint = replace(checkpoint, engine=make(checkpoint.model, dtype or "auto"))
    return Policy(checkpoint, head, weights)


def has_head(checkpoint: Checkpoint, head: str) -> bool:
    """Whether the checkpoint has the weights of a head of its family."""
    return getattr(checkpoint.model.config, head, True) is not None
