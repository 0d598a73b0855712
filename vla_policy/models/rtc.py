"""Real-time chunking for a flow head: the new chunk is in-painted onto rows executed meanwhile.

Both variants wrap a velocity, so that `flow.integrate` and every solver are unchanged:

    guided       any checkpoint: each step pulls the predicted clean actions towards the previous chunk
    conditioned  checkpoints trained with clean leading rows: those rows are given as data (time 0)

Source: arXiv:2506.07339 eq. 2 to 5 (guidance), arXiv:2512.05964 (conditioning). Differs in: time here is t = 1 - tau,
so t = 1 is noise and the predicted clean actions are x - t * velocity; the constant-velocity pull, which takes the
velocity as independent of x, is the default, the paper's vector-Jacobian product an option.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vla_policy.models import flow
from vla_policy.models.sampling import Sampling
from vla_policy.types import Array

Velocity = Callable[[Tensor, Tensor], Tensor]


def _linear(c: float) -> float:
    return c


def _exponential(c: float) -> float:
    return c * math.expm1(c) / (math.e - 1.0)


# Weight of a row between the frozen ones and the end, of its share c, 1 at the start to 0 at the
# end.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": _linear,
    "exp": _exponential,
    "ones": lambda c: 1.0,
    "zeros": lambda c: 0.0,
}


def integrate(
    velocity: Velocity,
    noise: Float[Tensor, "b t d"],
    steps: int,
    sampling: Sampling,
    *,
    prefix_trained: bool = False,
) -> Float[Tensor, "b t d"]:
    """Noise to model actions with sampling's options; continues the previous chunk, if any.

    velocity: (x, time[b]) -> dx/dt; of a network that is prefix_trained also (x, time[b, t]).
    Columns unknown in the previous chunk are free; in rows given as data they are 0, as in
    training, and come back as in the first free row. Raises ValueError if its rows or columns do
    not match.
    """
    if sampling.previous is None or not sampling.continues:
        return flow.integrate(velocity, noise, steps, solver=sampling.solver)
    rows = noise.shape[1]
    frozen, end = sampling.frozen_rows, max(sampling.frozen_rows, sampling.guidance_rows)
    previous, known = _previous(sampling.previous, sampling.known, noise, end)
    if prefix_trained and frozen < rows:
        given = (previous * known).expand(noise.shape[0], -1, -1)
        wrapped = conditioned(velocity, given, frozen)
        start = with_prefix(noise, given, frozen)
        actions = flow.integrate(wrapped, start, steps, solver=sampling.solver)
        free = actions[:, frozen : frozen + 1].expand(-1, frozen, -1)
        return torch.cat((torch.where(known, given[:, :frozen], free), actions[:, frozen:]), 1)
    pull = sampling.pull
    weights = prefix_weights(rows, frozen, end, pull.schedule).to(noise)
    wrapped = guided(
        velocity,
        previous,
        weights[:, None] * known,
        max_weight=pull.max_weight,
        jacobian=pull.jacobian,
    )
    return flow.integrate(wrapped, noise, steps, solver=sampling.solver)


def _previous(
    rows_left: Array, columns_known: Array | None, noise: Float[Tensor, "b t d"], end: int
) -> tuple[Float[Tensor, "1 t d"], Bool[Tensor, " d"]]:
    rows, columns = noise.shape[1:]
    given = torch.from_numpy(rows_left.copy())
    if given.shape[1] != columns or end > rows:
        raise ValueError(
            f"previous: got {end} rows of {given.shape[1]} model actions to continue, "
            f"expected at most {rows} of {columns}"
        )
    previous = torch.zeros(1, rows, columns)
    previous[0, : min(rows, len(given))] = given[:rows].float()
    known = torch.ones(columns, dtype=torch.bool)
    if columns_known is not None:
        known = torch.from_numpy(columns_known.copy())
    return previous.to(noise), known.to(noise.device)


def prefix_weights(rows: int, frozen: int, end: int, schedule: str) -> Float[Tensor, " t"]:
    """Weight of the previous chunk per row: 1 for the frozen rows, falling to 0 at row end, 0 after it.

    >>> [round(float(w), 4) for w in prefix_weights(8, 2, 6, "exp")]
    [1.0, 1.0, 0.5706, 0.2871, 0.1145, 0.0258, 0.0, 0.0]

    Raises ValueError unless 0 <= frozen <= end <= rows and the schedule is known.
    """
    if not 0 <= frozen <= end <= rows:
        raise ValueError(
            f"frozen_rows, guidance_rows: got {frozen} and {end}, expected 0 <= frozen <= guidance <= {rows} rows"
        )
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: got {schedule!r}, expected one of {', '.join(SCHEDULES)}")
    held = [(end - i) / (end - frozen + 1) for i in range(frozen, end)]
    soft = [SCHEDULES[schedule](c) for c in held]
    return torch.tensor([1.0] * frozen + soft + [0.0] * (rows - end))


def guidance_weight(time: Float[Tensor, "..."], max_weight: float) -> Float[Tensor, "..."]:
    """t / ((1 - t) r^2) with r^2 = t^2 / (t^2 + (1 - t)^2), at most max_weight (the paper's beta)."""
    return ((time**2 + (1 - time) ** 2) / (time * (1 - time))).clamp(max=max_weight)


def guided(
    velocity: Velocity,
    previous: Float[Tensor, "b t d"],
    weights: Float[Tensor, "t #d"],  # noqa: F821 - a size that may be 1, no comment
    *,
    max_weight: float,
    jacobian: bool = False,
) -> Velocity:
    """The velocity with guidance towards previous, weighted by weights.

    previous: model actions, row 0 is row 0 of the new chunk. weights: 0 where previous is unknown.
    jacobian: guide through the network (needs autograd, so no inference_mode), not only on x.
    """

    def with_pull(x: Tensor, time: Tensor) -> Tensor:
        t = time[:, None, None]
        if jacobian:
            with torch.enable_grad():
                point = x.detach().requires_grad_()
                dx_dt = velocity(point, time)
                clean = point - t * dx_dt
                error = weights * (previous - clean.detach())
                (pull,) = torch.autograd.grad(clean, point, grad_outputs=error)
            dx_dt = dx_dt.detach()
        else:
            dx_dt = velocity(x, time)
            pull = weights * (previous - (x - t * dx_dt))
        return dx_dt - guidance_weight(t, max_weight) * pull

    return with_pull


def conditioned(velocity: Velocity, previous: Float[Tensor, "b t d"], frozen: int) -> Velocity:
    """The velocity with the first frozen rows given as data; velocity must take a time per row.

    Only for a network trained so: others have never had rows of different times.
    """

    def given_prefix(x: Tensor, time: Tensor) -> Tensor:
        times = time[:, None].repeat(1, x.shape[1])
        times[:, :frozen] = 0.0
        dx_dt = velocity(with_prefix(x, previous, frozen), times)
        dx_dt[:, :frozen] = 0.0
        return dx_dt

    return given_prefix


def with_prefix(
    actions: Float[Tensor, "b t d"], previous: Float[Tensor, "b t d"], frozen: int
) -> Float[Tensor, "b t d"]:
    """actions with the first frozen rows of previous, which are executed in any case."""
    return torch.cat((previous[:, :frozen], actions[:, frozen:]), 1)
