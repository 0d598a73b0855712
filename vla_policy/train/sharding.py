"""Fully sharded training: every process holds a share of each parameter, gradient and moment.

The weight of a linear layer is whole where it computes, what else the network has while the loss is
computed. Every process runs the same layers in the same order, or all would wait for one another: a
batch that only some of them have (questions) cannot be shared so.
Source: ZeRO (arXiv:1910.02054) by torch.distributed.fsdp.fully_shard.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from vla_policy.train.checkpoints import Learner
from vla_policy.train.ema import Mean
from vla_policy.train.optimiser import adamw
from vla_policy.train.run import Run

SMALLEST = 1 << 16  # elements of a layer that is gathered by itself; less is not worth a message


@dataclass(frozen=True, slots=True)
class Shards:
    """loss_of, learner: of this process's share. hollow: the network without values, to be filled for saving."""

    loss_of: nn.Module
    learner: Learner
    hollow: nn.Module


def shard(
    loss_of: nn.Module, learner: Learner, run: Run, parts: Mapping[str, str], device: torch.device
) -> Shards:
    """Divide network, moments and mean, in place, over all processes; they come from main memory.

    loss_of: whose forward is the loss of the learner's network. Every process calls it, with equal values.
    """
    model: nn.Module = learner.checkpoint.model
    hollow = _hollow(model)
    before = learner.parameters
    if run.precision == "bfloat16":  # no cache: it would keep every weight until the loss is there
        half = torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
        loss_of.forward = half(loss_of.forward)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for layer in [m for m in model.modules() if isinstance(m, nn.Linear)]:
        if layer.weight.numel() >= SMALLEST:
            fully_shard(layer, mesh=mesh)
    # Also the rest is given up after each forward pass: one without a backward pass would leave it whole, and old.
    fully_shard(loss_of, mesh=mesh, reshard_after_forward=True)
    parameters = {name: p for name, p in model.named_parameters() if name in before}
    optimiser = adamw(parameters, run.optimiser, parts)
    for name, p in parameters.items():
        kept = learner.optimiser.state.get(before[name], {})
        if kept:
            optimiser.state[p] = {slot: _share(value, p) for slot, value in kept.items()}
    mean = None
    if learner.mean is not None:
        mean = Mean(parameters, learner.mean.decay)
        mean.values = {n: _share(v, parameters[n]) for n, v in learner.mean.values.items()}
    return Shards(
        loss_of, replace(learner, parameters=parameters, optimiser=optimiser, mean=mean), hollow
    )


def gathered(shards: Shards, run: Run, parts: Mapping[str, str], *, leads: bool) -> Learner | None:
    """The learner as one process would have it, in main memory, to be saved; None where not leads.

    Every process calls it. Of an adapter that is saved alone the base stays without values.
    """
    learner = shards.learner
    laid = learner.laid
    alone = laid is not None and not laid.options.merge
    kept = learner.parameters if alone else dict(learner.checkpoint.model.named_parameters())
    values = {name: _whole(p, leads) for name, p in kept.items()}
    states = {
        name: {slot: _whole(value, leads) for slot, value in learner.optimiser.state[p].items()}
        for name, p in learner.parameters.items()
    }
    means = {name: _whole(v, leads) for name, v in learner.mean.values.items()} if learner.mean else {}  # fmt: skip
    if not leads:
        return None
    model = copy.deepcopy(shards.hollow)
    model.load_state_dict(values, strict=False, assign=True)
    parameters = {n: p for n, p in model.named_parameters() if n in learner.parameters}
    optimiser = adamw(parameters, run.optimiser, parts)
    for name, p in parameters.items():
        optimiser.state[p] = states[name]
    mean = None
    if learner.mean is not None:
        mean = Mean(parameters, learner.mean.decay)
        mean.values = means
    checkpoint = replace(learner.checkpoint, model=model)
    if laid is not None:
        laid = replace(laid, checkpoint=replace(laid.checkpoint, model=model))
    return replace(
        learner, checkpoint=checkpoint, parameters=parameters, optimiser=optimiser, mean=mean, laid=laid,
    )  # fmt: skip


def _hollow(model: nn.Module) -> nn.Module:
    """A copy whose parameters have shape and type only."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


def _share(value: Tensor, like: nn.Parameter) -> Tensor:
    """This process's share of a whole value, as that of a parameter; a count of steps stays whole."""
    if value.ndim == 0 or not isinstance(like, DTensor):
        return value
    share: Tensor = distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )
    return share


def _whole(value: Tensor, leads: bool) -> Tensor:
    """The whole of it in main memory, where leads; elsewhere nothing of use."""
    full = value.detach().full_tensor() if isinstance(value, DTensor) else value.detach()
    return full.cpu() if leads else full[:0] if full.ndim else full
