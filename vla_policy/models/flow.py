"""Flow matching: from noise to actions.

Convention here, as in openpi: t = 1 is noise, t = 0 is data.
Sources: pi0 (arXiv:2410.24164) section IV and appendix B, Euler steps; the paper itself uses the
opposite direction of time. Midpoint and Heun are the two-stage Runge-Kutta methods of order two.
Guidance is classifier-free guidance (arXiv:2207.12598) of the velocity.
"""

import math
import secrets
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0

# velocity(x[b, t, d], time[b]) -> dx/dt[b, t, d]
Velocity = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Velocity, Tensor, float, float], Tensor]


def sample_time(
    count: int, *, generator: torch.Generator | None = None, device: torch.device | str = "cpu"
) -> Float[Tensor, " b"]:
    """t = 0.999 * Beta(1.5, 1) + 0.001: more weight near noise. Beta(a, 1) is u^(1/a) of a uniform u."""
    uniform = torch.rand(count, generator=generator, device=device)
    return 0.999 * uniform ** (1 / 1.5) + 0.001


def interpolate(
    actions: Float[Tensor, "b t d"],
    noise: Float[Tensor, "b t d"],
    time: Float[Tensor, " b"] | Float[Tensor, "b t"],
) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"]]:
    """x_t on the straight path from actions to noise, one time or one per row, and dx/dt."""
    t = time.reshape(len(time), -1, 1)  # (b, 1 or t, 1)
    return t * noise + (1 - t) * actions, noise - actions


def integrate(
    velocity: Velocity, noise: Float[Tensor, "b t d"], steps: int, *, solver: str = "euler"
) -> Float[Tensor, "b t d"]:
    """Integrate noise at t = 1 to data at t = 0 in equal steps. velocity(x, time[b]) -> dx/dt.

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
    """Every time at which integrate calls velocity, in order, to prepare what depends on it."""
    seen: list[float] = []

    def record(x: Tensor, time: Tensor) -> Tensor:
        seen.append(time[0].item())
        return x

    integrate(record, torch.zeros(1, 1, 1), steps, solver=solver)
    return tuple(seen)


def with_guidance(conditional: Velocity, unconditional: Velocity, scale: float) -> Velocity:
    """Velocity guided towards the instruction: v = v_without + scale * (v_with - v_without).

    scale 1 is exactly the conditional velocity, without a call of the other; 0 ignores the
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
    seed: int | None,
    count: int,
    shape: tuple[int, int],
    *,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "b t d"]:
    """count noises, the i-th the one that a single run with seed + i starts from; None: new ones each time."""
    first = secrets.randbits(48) if seed is None else seed
    return torch.stack([_noise(first + i, shape, device) for i in range(count)])


def time_embedding(time: Float[Tensor, " b"], width: int) -> Float[Tensor, "b e"]:
    """Sine then cosine of time over width / 2 periods from 4e-3 to 4, computed in float64."""
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64, device=time.device)
    period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
    angle = 2 * math.pi * time.double()[:, None] / period
    return torch.cat((angle.sin(), angle.cos()), dim=-1).to(time.dtype)


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
