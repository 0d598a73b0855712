"""Training of a family: one demonstration or question to tensors, a batch of them to a loss.

`Family.training` is a record of plain functions, like the family itself. A loader's workers call
`example` and `question`, which use only the network's sizes (`checkpoint.model.config`) and return
tensors on the CPU without a batch dimension; `collate` combines them, demonstrations and
questions in one batch; `loss` is called on the network's device.

    loss = sum_i w_i l_i / sum_i w_i        l_i = flow + token_weight * token (a demonstration), + text_weight * text

l_i is a mean over the counted elements of sample i alone (valid rows, real columns, tokens of the
answer), so that the loss of a batch is the weighted mean of the losses of its members, however
they are distributed over batches and processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.types import Array, Observation, readonly

Batch = dict[str, Tensor]
HEADS = ("flow", "token")


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An observation and the following actions, to be learned by a policy.

    actions: float64[rows, a] in robot units, columns as contract.action_names, as `restore`
    returns; row 0 is due at the observation. valid: bool[rows]; False: after the end of the
    episode, or not to be learned.
    done: bool[rows], rows after the end of an episode that reached its goal; there a policy with a
    terminate column learns to terminate and stay at rest, valid or not; None: no such rows.
    weight: of the sample, 0 or more. plan: text to be written before the actions; empty: none.
    seen: what `Training.see` answered about the observation; then its images are not read. None:
    they are.
    Raises ValueError for mismatched shapes, actions of valid rows that are not finite, and a
    weight below 0.
    """

    observation: Observation
    actions: Array
    valid: Array
    weight: float = 1.0
    plan: str = ""
    done: Array | None = None
    seen: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", readonly(self.actions))
        object.__setattr__(self, "valid", readonly(self.valid, bool))
        if self.done is not None:
            object.__setattr__(self, "done", readonly(self.done, bool))
        shapes = [a.shape for a in (self.valid, self.done) if a is not None]
        if self.actions.ndim != 2 or any(shape != (len(self.actions),) for shape in shapes):
            raise ValueError(
                f"Demonstration: got actions {self.actions.shape} with {shapes}, expected (rows, columns) and (rows,)"
            )
        if not np.isfinite(self.actions[self.counts]).all():
            row = np.flatnonzero(self.counts & ~np.isfinite(self.actions).all(1))[0]
            raise ValueError(f"Demonstration.actions: row {row} is not finite, but counts")
        if not 0.0 <= self.weight < np.inf:
            raise ValueError(f"Demonstration.weight: got {self.weight}, expected 0 or more")

    @property
    def counts(self) -> Array:
        """bool[rows]: valid or done."""
        return self.valid if self.done is None else self.valid | self.done


@dataclass(frozen=True, slots=True)
class Labelled:
    """One sample of a family's own lesson: named arrays and texts, as its source gives them."""

    arrays: Mapping[str, Array]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about images and its answer, without a robot.

    images: uint8[h, w, 3]. source: its name in the mixture.
    """

    images: tuple[Array, ...]
    text: str
    answer: str
    source: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        for image in self.images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
                raise ValueError(
                    f"Question.images: got {image.dtype}{list(image.shape)}, expected uint8[h, w, 3]"
                )
        if not self.text or not self.answer:
            raise ValueError(
                f"Question: got text {self.text!r} and answer {self.answer!r}, expected text in both"
            )
        if not 0.0 <= self.weight < np.inf:
            raise ValueError(f"Question.weight: got {self.weight}, expected 0 or more")


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What is learned, and how.

    heads: of HEADS; empty: all of the checkpoint. token_weight, text_weight: of the cross-entropy
    of action tokens and of text (answers, plans), relative to 1 for the flow.
    detach_prefix: the flow head's loss has no gradient in vision and language (knowledge
    insulation, arXiv:2505.23705). max_delay: most leading rows given as data, drawn from 0 to it
    for each sample (prefix-trained real-time chunking, arXiv:2512.05964). draws: noises and times
    over one prefix.
    instruction_dropout: share of demonstrations whose instruction is left out, for classifier-free
    guidance.
    padding_columns: action columns that the robot lacks count too, with target noise - 0, as in
    openpi.
    """

    heads: tuple[str, ...] = ()
    token_weight: float = 1.0
    text_weight: float = 1.0
    detach_prefix: bool = False
    max_delay: int = 0
    draws: int = 1
    instruction_dropout: float = 0.0
    padding_columns: bool = False

    def __post_init__(self) -> None:
        if not set(self.heads) <= set(HEADS):
            raise ValueError(f"heads: got {self.heads}, expected some of {', '.join(HEADS)}")
        for name in ("token_weight", "text_weight"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        if self.max_delay < 0:
            raise ValueError(f"max_delay: got {self.max_delay}, expected 0 or more rows")
        if self.draws < 1:
            raise ValueError(f"draws: got {self.draws}, expected at least 1")
        if not 0.0 <= self.instruction_dropout < 1.0:
            raise ValueError(
                f"instruction_dropout: got {self.instruction_dropout}, expected 0 to below 1"
            )


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of one batch.

    total: scalar with a gradient. weight: scalar, the sum of the weights of the counted samples:
    batches and processes are combined as sum(total * weight) / sum(weight). parts: name ("flow",
    "token", "text") -> scalar, the weighted mean of that part over the samples that have it,
    without gradient and before its option's weight.
    """

    total: Tensor
    weight: Tensor
    parts: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Training:
    """Plain functions of a family, without state.

    example:  (checkpoint, heads, demonstration) -> tensors by name. The action transform is the
              inverse of the family's `restore`. Raises ValueError if the demonstration does not
              match the contract.
    question: (checkpoint, question) -> tensors by the same names, or None: this network cannot
              learn to answer.
    collate:  tensors of several -> those of a batch, padded.
    see:      (checkpoint, observation) -> float32 array: what a vision that does not learn answers
              about it, as in inference; a demonstration that has it needs no images. None: the
              family has no such answers.
    loss:     (checkpoint, batch, options, generator) -> Loss. Noise, times and dropped
              instructions are drawn for each sample from its own `seed`, int64[b] in the batch; a
              batch without seeds draws them from generator. An unsupported option is refused with
              a ValueError.
    parts:    name -> regular expression over parameter names, for freezing and learning rates;
              each parameter is in exactly one.
    adapters: regular expressions over module names: the linear layers of low-rank adapters by
    default.
    lessons: other tasks that the same network can learn, by name; their `example` takes a
    Labelled.
    bound_by: the part of the network that is built for its robot, which no other robot can train;
    empty: none.
    half_base: beside an adapter the frozen linear layers may be kept in bfloat16 where it is computed
    in, with the same result; not where activations take the precision of a weight.
    """

    example: Callable[[Checkpoint, tuple[str, ...], Any], Batch]
    question: Callable[[Checkpoint, Question], Batch | None]
    collate: Callable[[Sequence[Batch]], Batch]
    loss: Callable[[Checkpoint, Batch, LossOptions, torch.Generator], Loss]
    parts: Mapping[str, str]
    adapters: tuple[str, ...]
    lessons: Mapping[str, Training] = field(default_factory=lambda: MappingProxyType({}))
    bound_by: str = ""
    half_base: bool = False
    see: Callable[[Checkpoint, Observation], Array] | None = None


def as_trained(checkpoint: Checkpoint, options: LossOptions) -> None:
    """Record in the network's sizes what training changed; called before it is saved."""
    if not options.max_delay:
        return
    config: Any = checkpoint.model.config
    flow = replace(config.flow, prefix_trained=True, prefix_rows=options.max_delay)
    checkpoint.model.config = replace(config, flow=flow)
