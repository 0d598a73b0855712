"""Integrating a flow from noise (t = 1) to data (t = 0), guiding it by an instruction, sampling several at once.

A velocity is a function velocity(x[b, t, d], time[b]) -> dx/dt[b, t, d] (flow.py has the convention).
Sources: Euler as in pi0 (arXiv:2410.24164) appendix B; midpoint and Heun are the two-stage Runge-Kutta methods of
order two; guidance is classifier-free guidance (arXiv:2207.12598) of the velocity.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Velocity, Tensor, float, float], Tensor]


def integrate(
    velocity: Velocity, noise: Float[Tensor, "b t d"], steps: int, solver: str = "euler"
) -> Float[Tensor, "b t d"]:
    """The data at t = 0 that noise at t = 1 flows to, in equal steps.

    Cost in calls of velocity: steps for "euler", 2 * steps for "midpoint" and "heun".
    Raises ValueError for an unknown solver or steps < 1.
    """
    step = SOLVERS.get(solver)
    if step is None:
        raise ValueError(f"solver: got {solver!r}, expected one of {', '.join(SOLVERS)}")
    if steps < 1:
        raise ValueError(f"num_steps: got {steps}, expected at least 1")
    x, dt = noise, -1.0 / steps
    for i in range(steps):
        x = step(velocity, x, 1.0 + i * dt, dt)
    return x


def times(steps: int, solver: str) -> tuple[float, ...]:
    """Every time at which integrate calls its velocity, in order; what depends on time alone can be prepared."""
    seen: list[float] = []

    def record(x: Tensor, time: Tensor) -> Tensor:
        seen.append(time[0].item())
        return x

    integrate(record, torch.zeros(1, 1, 1), steps, solver)
    return tuple(seen)


def guided(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Velocity pushed towards the instruction: v = v_without + scale * (v_with - v_without).

    scale 1 is the plain conditional velocity, exactly and without a call of the other; 0 ignores the
    instruction; above 1 follows it more strictly. Raises ValueError unless 0 <= scale < infinity.
    """
    if not 0.0 <= scale < float("inf"):
        raise ValueError(f"guidance: got {scale}, expected a finite number of at least 0")
    if scale == 1.0:
        return conditional

    def velocity(x: Tensor, time: Tensor) -> Tensor:
        without = unconditional(x, time)
        return without + scale * (conditional(x, time) - without)

    return velocity


def candidate_noise(
    seeds: Sequence[int], shape: tuple[int, int], device: torch.device | str = "cpu"
) -> Float[Tensor, "b t d"]:
    """One noise per seed, each the one that a single run with that seed starts from."""
    return torch.stack([_noise(seed, shape, device) for seed in seeds])


def _noise(seed: int, shape: tuple[int, int], device: torch.device | str) -> Tensor:
    generator = torch.Generator(device=device)
    generator.manual_seed(seed)
    return torch.randn(shape, generator=generator, device=device)


def _euler(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    return x + dt * velocity(x, _at(x, t))


def _midpoint(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    half = x + 0.5 * dt * velocity(x, _at(x, t))
    return x + dt * velocity(half, _at(x, t + 0.5 * dt))


def _heun(velocity: Velocity, x: Tensor, t: float, dt: float) -> Tensor:
    first = velocity(x, _at(x, t))
    second = velocity(x + dt * first, _at(x, max(t + dt, 0.0)))  # rounding may pass data
    return x + 0.5 * dt * (first + second)


def _at(x: Tensor, t: float) -> Tensor:
    return torch.full((x.shape[0],), t, dtype=torch.float32, device=x.device)


SOLVERS: dict[str, Step] = {"euler": _euler, "midpoint": _midpoint, "heun": _heun}
