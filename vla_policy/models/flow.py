"""Flow matching: where noise becomes actions. Convention here, as in openpi: t = 1 is noise, t = 0 is data.

Source: pi0 (arXiv:2410.24164) section IV and appendix B; the paper itself counts time the other way round.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0


def sample_time(
    count: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> Float[Tensor, " b"]:
    """t = 0.999 * Beta(1.5, 1) + 0.001: more weight near noise. Beta(a, 1) is u^(1/a) of a uniform u."""
    uniform = torch.rand(count, generator=generator, device=device)
    return 0.999 * uniform ** (1 / 1.5) + 0.001


def interpolate(
    actions: Float[Tensor, "b t d"], noise: Float[Tensor, "b t d"], time: Float[Tensor, " b"]
) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"]]:
    """The point x_t on the straight path from actions to noise, and its velocity dx/dt."""
    t = time[:, None, None]
    return t * noise + (1 - t) * actions, noise - actions


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Float[Tensor, "b t d"],
    steps: int,
    *,
    solver: str = "euler",
) -> Float[Tensor, "b t d"]:
    """From t = 1 to t = 0 in equal steps. velocity(x, time[b]) -> dx/dt."""
    if solver != "euler":
        raise ValueError(f"solver: got {solver!r}, expected euler")
    x, dt = noise, -1.0 / steps
    for i in range(steps):
        time = torch.full((x.shape[0],), 1.0 + i * dt, dtype=torch.float32, device=x.device)
        x = x + dt * velocity(x, time)
    return x


def time_embedding(time: Float[Tensor, " b"], width: int) -> Float[Tensor, "b e"]:
    """Sine then cosine of time over width / 2 periods from 4e-3 to 4, computed in float64."""
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64, device=time.device)
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
    angle = 2 * math.pi * time.double()[:, None] / period
    return torch.cat((angle.sin(), angle.cos()), dim=-1).to(time.dtype)
