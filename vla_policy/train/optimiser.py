"""AdamW over the parts of a network, the learning rate of each step, and a step of the shorter loops."""

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vla_policy.train.run import Optimiser, Run, Schedule


def part_of(name: str, parts: Mapping[str, str]) -> str:
    """The part of a parameter: the first whose expression is found in its name; "" if none."""
    return next((part for part, pattern in parts.items() if re.search(pattern, name)), "")


def freeze(model: nn.Module, run: Run, parts: Mapping[str, str]) -> None:
    """Leave gradients only for the trained parts.

    Raises ValueError for a part that the network lacks, and if nothing is left to train.
    """
    for key, names in (("freeze", run.freeze), ("optimiser.rates", tuple(run.optimiser.rates))):
        if unknown := [n for n in names if n not in parts]:
            raise ValueError(
                f"{key}: got {unknown[0]!r}, expected parts of this network: {', '.join(parts)}"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, parts) not in run.freeze)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"freeze: got {', '.join(run.freeze)}, expected something left to train")


def adamw(
    parameters: Mapping[str, nn.Parameter], options: Optimiser, parts: Mapping[str, str]
) -> torch.optim.AdamW:
    """Over parameters by name.

    Each group has its part's `factor`. One-axis ones (norms, biases) do not decay.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        factor = options.rates.get(part_of(name, parts), 1.0)
        groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": p, "factor": f, "weight_decay": options.weight_decay if decays else 0.0}
            for (f, decays), p in groups.items()
        ],
        lr=options.learning_rate,
        betas=(options.beta1, options.beta2),
        eps=options.epsilon,
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """rate times each group's factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def rate_at(step: int, steps: int, schedule: Schedule) -> float:
    """Factor on the learning rate at step, counted from 0: in (0, 1]."""
    warmup = steps // 20 if schedule.warmup is None else schedule.warmup
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    wave = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return schedule.final + (1 - schedule.final) * wave


def take_step(
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    *,
    clip: Iterable[nn.Parameter] = (),
) -> None:
    """One step against the gradient of loss alone, that of the parameters of clip cut to a norm of 1."""
    optimiser.zero_grad()
    loss.backward()
    if clipped := list(clip):
        nn.utils.clip_grad_norm_(clipped, 1.0)
    optimiser.step()
    schedule.step()
