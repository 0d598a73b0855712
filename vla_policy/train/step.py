"""One training step: micro-batches to one gradient, for any number of them and of processes.

loss = sum(total * weight) / sum(weight)        over all micro-batches of all processes, and its gradient
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.training import LossOptions, Training
from vla_policy.train.batches import Batch
from vla_policy.train.run import Run
from vla_policy.train.seeds import sample_seeds


class NotFinite(ValueError):
    """A loss or gradient that is not finite; the step was not made."""


class LossOf(nn.Module):
    """The loss of a micro-batch as a module's forward, for DDP and FSDP."""

    def __init__(self, checkpoint: Checkpoint, training: Training, options: LossOptions) -> None:
        super().__init__()
        self.model = checkpoint.model
        self._parts = (checkpoint, training, options)

    def forward(
        self, batch: dict[str, Tensor], seed: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """total, weight, parts.

        seed: of the family's draws, beside the samples' own, and of dropout.
        """
        checkpoint, training, options = self._parts
        torch.manual_seed(seed)
        loss = training.loss(checkpoint, batch, options, torch.Generator().manual_seed(seed))
        return loss.total, loss.weight, dict(loss.parts)


@dataclass(slots=True)
class Sums:
    """Sums of weight times value and of weight for each part, by name; "loss" is the total."""

    values: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: float, weight: float) -> None:
        self.values[name] = self.values.get(name, 0.0) + value * weight
        self.weights[name] = self.weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """Each part's mean."""
        return {k: v / self.weights[k] for k, v in self.values.items() if self.weights[k] > 0}


def next_batch(
    stream: Iterator[Batch], number: int, run: Run, device: torch.device
) -> tuple[Batch, dict[str, Tensor]]:
    """The micro-batch with that number, and its tensors on the device, each sample with its seed."""
    batch = next(stream)
    tensors = dict(batch.tensors)
    if "seed" not in tensors:
        tensors["seed"] = sample_seeds(run.seed, number * run.at_once, len(batch.samples))
    return batch, {name: value.to(device) for name, value in tensors.items()}


def gradient(
    loss_of: nn.Module, stream: Iterator[Batch], step: int, run: Run, devices: Any, sums: Sums
) -> tuple[str, ...]:
    """Leave the step's gradient in the parameters; returns this process's samples.

    Raises NotFinite, naming the samples of a micro-batch whose loss is not finite.
    """
    numbers = range(
        step * run.micro_batches + devices.process_index,
        (step + 1) * run.micro_batches,
        devices.num_processes,
    )
    own = 0.0
    samples: tuple[str, ...] = ()
    for number in numbers:
        batch, tensors = next_batch(stream, number, run, devices.device)
        seed = int(sample_seeds(run.seed, number * run.at_once, 1)[0])
        # Processes exchange gradients once, with the last micro-batch.
        with nullcontext() if number == numbers[-1] else devices.no_sync(loss_of):
            total, weight, parts = loss_of(tensors, seed)
            said = {"loss": float(total.detach()), **{k: float(v) for k, v in parts.items()}}
            if not math.isfinite(said["loss"]):
                raise not_finite("loss", step, said, batch.samples)
            devices.backward(total * weight)
        counted = float(weight)
        own, samples = own + counted, samples + batch.samples
        for name, value in said.items():
            sums.add(name, value, counted)
    whole = float(devices.reduce(torch.tensor(own, device=devices.device), "sum"))
    # DDP leaves the mean over processes of the weighted sums.
    scale(loss_of, devices.num_processes / whole if whole > 0 else 0.0)
    return samples


def scale(module: nn.Module, factor: float) -> None:
    """Multiply all gradients."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    torch._foreach_mul_(gradients, factor)


def clip(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scale the gradients to a norm of at most `most`; returns the norm before."""
    norm = nn.utils.clip_grad_norm_(parameters, most)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def not_finite(
    what: str, step: int, said: Mapping[str, float], samples: Iterable[str]
) -> NotFinite:
    """The error for step number step + 1."""
    parts = ", ".join(f"{name} {value:g}" for name, value in said.items())
    return NotFinite(
        f"step {step + 1}: the {what} is not finite ({parts}); nothing was learned from it. "
        f"The batch was {'; '.join(samples)}"
    )
