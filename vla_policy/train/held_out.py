"""The loss on held-out samples: the same samples and noise each time."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vla_policy.train.batches import Batch
from vla_policy.train.run import Run
from vla_policy.train.seeds import HELD_OUT, seed_of
from vla_policy.train.step import NotFinite, Sums


def held_out_loss(loss_of: nn.Module, held_out: Sequence[Batch], run: Run, devices: Any) -> float:
    """The mean over all held-out micro-batches, distributed over the processes."""
    sums = Sums()
    training = loss_of.training
    loss_of.eval()
    with torch.no_grad(), devices.autocast():
        for first in range(0, len(held_out), devices.num_processes):
            # All processes compute as often, as layers may be shared: one without a batch of its own repeats the last.
            number = min(first + devices.process_index, len(held_out) - 1)
            counts = first + devices.process_index < len(held_out)
            batch = held_out[number]
            seeds = [seed_of(run.seed, HELD_OUT, number, i) for i in range(len(batch.samples))]
            tensors = {**batch.tensors, "seed": torch.tensor(seeds)}
            placed = {name: value.to(devices.device) for name, value in tensors.items()}
            total, weight, _ = loss_of(placed, seeds[0])
            if counts:
                sums.add("loss", float(total), float(weight))
    loss_of.train(training)
    both = torch.tensor([sums.values.get("loss", 0.0), sums.weights.get("loss", 0.0)])
    whole = devices.reduce(both.to(devices.device), "sum")
    mean = float(whole[0] / whole[1])
    if not math.isfinite(mean):
        raise NotFinite(
            f"the loss of held-out samples is not finite ({mean:g}), though that of the others is"
        )
    return mean
