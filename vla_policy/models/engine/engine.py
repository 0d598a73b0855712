"""The plain model's calls on folded weights: vision, prefix, flow, and sample for all at once.

    plain     model.vision(images)   model.prefix(tokens, text, state, valid)   model.flow(prefix, state, x, time)
    engine    engine.vision(images)  engine.prefix(tokens, text, state, valid)  engine.flow(prefix, state, x, time)

Left out, exactly: tokens of absent cameras and padding; the language model's last layer except its
keys and values; its final norm and the logits; the state token in every step but the first (it
does not attend to the actions, so its keys and values never change).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models import flow
from vla_policy.models.config import ModelConfig
from vla_policy.models.engine.fold import Condition, FoldedHead, Stack
from vla_policy.models.engine.linear import Linear
from vla_policy.models.engine.stack import Cache, new_cache, normed, run, turns


@dataclass(frozen=True, slots=True)
class EnginePrefix:
    """One observation's keys and values, with room for the actions, which flow rewrites.

    start: cache position of the first action. turn: rotations of the actions' positions.
    """

    cache: Cache
    start: int
    turn: Tensor

    def repeat(self, times: int) -> "EnginePrefix":
        """Each row times over, next to each other."""
        valid = self.cache.valid
        cache = Cache(
            self.cache.keys.repeat_interleave(times, 1),
            self.cache.values.repeat_interleave(times, 1),
            None if valid is None else valid.repeat_interleave(times, 0),
        )
        return EnginePrefix(cache, self.start, self.turn.repeat_interleave(times, 0))


@dataclass(frozen=True, slots=True)
class Engine:
    """Made by compile_engine. Holds no observation; conditions of flow times are cached.

    vision: features of images, as in the plain tower. words: the model's own table. state:
    projection of a state in the prefix, or None. slots: as VLA.slots. cache_dtype: of keys, values
    and scores. chunk: sample's work for observations without gaps (captured on a GPU).
    """

    config: ModelConfig
    dtype: torch.dtype
    vision: Callable[..., Tensor]
    projector: Linear
    words: Tensor
    state: Linear | None
    language: Stack
    head: FoldedHead
    cache_dtype: torch.dtype
    conditions: dict[tuple[float, ...], Condition]
    prepared: dict[tuple[int, str], Condition]
    chunk: Callable[..., Tensor] | None
    slots: Tensor | None = None

    def prefix(
        self, image_tokens: Tensor, text: Tensor, state: Tensor, image_valid: Tensor | None = None
    ) -> EnginePrefix:
        """As VLA.prefix; absent tokens are dropped, and rows of a batch padded to the longest."""
        x, valid = self._embed(image_tokens, text, state, image_valid)
        if bool(valid.all()):
            return self._fill(x, state, None)
        counts = valid.sum(1)
        longest = int(counts.max())
        order = valid.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
        x = x.gather(1, order[..., None].expand(-1, -1, x.shape[2]))
        return self._fill(x, state, None if bool((counts == longest).all()) else counts)

    def flow(self, prefix: EnginePrefix, state: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """As FlowHead: velocity of noisy at time[b], or time[b, t] of each row. state is already in the prefix."""
        if time.ndim == 2:
            condition = self.head.condition(time.flatten()).unflatten(time.shape)
        else:
            alike = time if len(time) == 1 or not bool((time == time[0]).all()) else time[:1]
            condition = self._condition(tuple(alike.tolist()))
        return self._velocity(prefix, noisy, condition)

    def sample(
        self,
        images: Tensor,
        camera_valid: Tensor,
        text: Tensor,
        state: Tensor,
        noise: Tensor,
        *,
        steps: int,
        solver: str = "euler",
    ) -> Tensor:
        """Actions from an observation: vision, prefix and all steps.

        images: [b, c, 3, h, w] in [-1, 1]; camera_valid: bool[b, c], false for a camera the robot does not have.
        """
        cameras, said = camera_valid.sum(1), text != 0
        features = images[camera_valid]
        text, said = text[:, said.any(0)], said[:, said.any(0)]
        if bool((cameras == cameras[0]).all()) and bool(said.all()):
            return (self.chunk or self.without_gaps)(
                features, text, state, noise, steps=steps, solver=solver
            )
        seen = self.vision(features)
        tokens = seen.new_zeros(*camera_valid.shape, *seen.shape[1:])
        tokens[camera_valid] = seen
        valid = camera_valid.repeat_interleave(seen.shape[1], 1)
        prefix = self.prefix(tokens.flatten(1, 2), text, state, valid)
        return self.integrate(prefix, noise, steps, solver)

    def without_gaps(
        self,
        images: Tensor,
        text: Tensor,
        state: Tensor,
        noise: Tensor,
        *,
        steps: int,
        solver: str,
    ) -> Tensor:
        """sample for complete images[b * c, 3, h, w] and text[b, s]; never waits for a GPU."""
        seen = self.vision(images)
        tokens = seen.view(len(state), -1, seen.shape[-1])
        return self.integrate(self.prefix_without_gaps(tokens, text, state), noise, steps, solver)

    def prefix_without_gaps(
        self, image_tokens: Tensor, text: Tensor, state: Tensor
    ) -> EnginePrefix:
        """prefix for complete tokens; never waits for a GPU."""
        x, _ = self._embed(image_tokens, text, state, None)
        return self._fill(x, state, None)

    def prepare(self, steps: int, solver: str) -> Condition:
        """All that depends only on the flow times of steps and solver; cached."""
        if (steps, solver) not in self.prepared:
            times = torch.tensor(flow.times(steps, solver), device=self.head.actions.device)
            self.prepared[steps, solver] = self.head.condition(times)
        return self.prepared[steps, solver]

    def integrate(self, prefix: EnginePrefix, noise: Tensor, steps: int, solver: str) -> Tensor:
        """Actions integrated from noise over a prefix."""
        conditions = self.prepare(steps, solver)
        calls = iter(range(len(conditions.bias)))
        return flow.integrate(
            lambda x, _: self._velocity(prefix, x, conditions[next(calls)]),
            noise,
            steps,
            solver=solver,
        )

    def _embed(
        self, image_tokens: Tensor, text: Tensor, state: Tensor, image_valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        words = F.embedding(text, self.words) * self.language.width**0.5
        seen = self.projector(image_tokens.to(self.dtype))
        if self.slots is not None:
            seen = seen + self.slots[: seen.shape[1]]
        parts = [seen, words.to(self.dtype)]
        if image_valid is None:
            image_valid = torch.ones_like(image_tokens[..., 0], dtype=torch.bool)
        valid = [image_valid, text != 0]
        if self.state is not None:
            parts.append(self.state(state.to(self.dtype))[:, None])
            valid.append(torch.ones_like(valid[0][:, :1]))
        return torch.cat(parts, 1), torch.cat(valid, 1)

    def _fill(self, x: Tensor, state: Tensor, counts: Tensor | None) -> EnginePrefix:
        """Cache of prefix tokens x and the suffix's state.

        counts: valid tokens per row; None: all.
        """
        b, p, rows = x.shape[0], x.shape[1], self.config.flow_head.rows
        suffix = rows + (self.head.state is not None)
        place = torch.arange(p + suffix, device=x.device)
        if counts is None:
            valid, positions = None, place[None].expand(b, -1)
        else:
            padding = p - counts[:, None]
            valid = (place < counts[:, None]) | (place >= p)
            positions = torch.where(place < p, place, place - padding)
        turn = turns(positions, self.language.head_dim)
        cache = new_cache(self.language, b, p + suffix, valid, x, self.cache_dtype)
        run(self.language, x, cache, 0, turn[:, :p])
        if self.head.state is not None:
            token = self.head.state(state.to(self.head.actions.dtype))[:, None].to(self.dtype)
            run(self.head.stack, token, cache, p, turn[:, p : p + 1], cache_only=True)
        return EnginePrefix(cache, p + suffix - rows, turn[:, p + suffix - rows :])

    def _velocity(self, prefix: EnginePrefix, noisy: Tensor, condition: Condition) -> Tensor:
        head = self.head
        x = F.linear(noisy.to(head.actions.dtype), head.actions) + condition.bias
        if head.hidden is not None:
            x = head.hidden(F.silu(x))
        y = run(
            head.stack, x.to(self.dtype), prefix.cache, prefix.start, prefix.turn, condition.norms
        )
        last = None if condition.norms is None else condition.norms[-1]
        return head.out(normed(y, last).to(head.actions.dtype)).to(noisy.dtype)

    def _condition(self, times: tuple[float, ...]) -> Condition:
        if times not in self.conditions:
            if len(self.conditions) > 256:  # every step of several solvers; bounded
                self.conditions.clear()
            device = self.head.actions.device
            self.conditions[times] = self.head.condition(torch.tensor(times, device=device))
        return self.conditions[times]
