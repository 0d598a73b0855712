"""The assembled vision-language-action model: image tokens and a sentence in, actions out of either head.

    prefix   [image tokens | text | state]     language model, bidirectional, once per observation
    suffix   token head: one action token after another, language model, causal
             flow head:  (state) + noisy actions, action expert, bidirectional, over the prefix's
                         keys and values

The prefix never attends to a suffix, so its cache is exact for both heads (pi0, arXiv:2410.24164).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vla_policy.models.config import ModelConfig, PointingConfig
from vla_policy.models.flow import time_embedding
from vla_policy.models.gemma import Gemma, LayerCache
from vla_policy.models.mask import block_mask, positions_of, suffix_mask
from vla_policy.models.pointing import FEATURES, TOKENS, PointingTower
from vla_policy.models.siglip import Siglip


@dataclass(frozen=True, slots=True)
class Prefix:
    """The language model's state after one observation, ready for suffixes.

    out: of the last o tokens, all of them at first. valid: of every token in the cache.
    """

    out: Float[Tensor, "b o e"]
    cache: list[LayerCache]
    valid: Bool[Tensor, "b p"]

    def repeat(self, times: int) -> "Prefix":
        """Each row times over, next to each other."""
        return Prefix(
            self.out.repeat_interleave(times, 0),
            [
                (k.repeat_interleave(times, 0), v.repeat_interleave(times, 0))
                for k, v in self.cache
            ],
            self.valid.repeat_interleave(times, 0),
        )


@dataclass(frozen=True, slots=True)
class Suffix:
    """The action expert's input beside the prefix.

    starts_block: see mask.py. condition: of the expert's norms; None for pi0.
    """

    x: Float[Tensor, "b s e"]
    starts_block: Bool[Tensor, "b s"]
    condition: Float[Tensor, "b e"] | Float[Tensor, "b s e"] | None


class FlowHead(nn.Module):
    """pi0's action expert: its own stack beside the language model's, in the same attention.

    The projections of state, actions and time compute in their own precision (float32 in a
    bfloat16 model, as in openpi), the expert in its own.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        flow = config.flow_head
        width = flow.expert.width
        self.state_in_suffix = config.state_token == "suffix"
        self.conditioned = flow.time == "adarms"
        self.width = width
        self.expert = Gemma(flow.expert, conditioned=self.conditioned)
        if self.state_in_suffix:
            self.state_proj = nn.Linear(config.state_dim, width)
        self.action_in_proj = nn.Linear(config.action_dim, width)
        self.action_out_proj = nn.Linear(width, config.action_dim)
        if self.conditioned:
            self.time_mlp_in = nn.Linear(width, width)
            self.time_mlp_out = nn.Linear(width, width)
        else:
            self.action_time_mlp_in = nn.Linear(2 * width, width)
            self.action_time_mlp_out = nn.Linear(width, width)

    def embed(
        self,
        state: Float[Tensor, "b n"],
        noisy: Float[Tensor, "b t d"],
        time: Float[Tensor, " b"] | Float[Tensor, "b t"],
    ) -> Suffix:
        """State (pi0), noisy actions and time, of all rows or of each row, as the expert's input."""
        t = time_embedding(time.flatten(), self.width).unflatten(0, time.shape).to(noisy.dtype)
        x, condition = self.action_in_proj(noisy), None
        if self.conditioned:
            condition = F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(t))))
        else:
            t = t[:, None] if time.ndim == 1 else t  # (b, 1 or t, e)
            x = torch.cat((x, t.expand(-1, noisy.shape[1], -1)), -1)
            x = self.action_time_mlp_out(F.silu(self.action_time_mlp_in(x)))
        starts = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        starts[:, 0] = True
        if self.state_in_suffix:
            x = torch.cat((self.state_proj(state)[:, None], x), 1)
            starts = F.pad(starts, (1, 0), value=True)
        return Suffix(x, starts, condition)

    def forward(
        self,
        prefix: Prefix,
        state: Float[Tensor, "b n"],
        noisy: Float[Tensor, "b t d"],
        time: Float[Tensor, " b"] | Float[Tensor, "b t"],
    ) -> Float[Tensor, "b t d"]:
        """Velocity dx/dt of the noisy actions at time (1 noise, 0 data), of all rows or of each row."""
        suffix = self.embed(state, noisy, time)
        mask = suffix_mask(prefix.valid, suffix.starts_block)
        offset = prefix.valid.sum(-1, keepdim=True)
        positions = offset + torch.arange(suffix.x.shape[1], device=noisy.device)
        x = suffix.x.to(prefix.out.dtype)
        y, _ = self.expert(x, positions, mask, prefix.cache, suffix.condition)
        velocity: Tensor = self.action_out_proj(y[:, -noisy.shape[1] :].to(noisy.dtype))
        return velocity


class VLA(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.language.width
        self.embed_tokens = nn.Embedding(config.vocab, width)  # tied with the output
        nn.init.normal_(self.embed_tokens.weight, std=width**-0.5)
        self.vision: PointingTower | Siglip
        if isinstance(config.vision, PointingConfig):
            self.vision = PointingTower(config.vision, config.vocab)
            self.projector = nn.Linear(FEATURES, width)
        else:
            self.vision = Siglip(config.vision)
            self.projector = nn.Linear(config.vision.width, width)
        if config.arms > 1:
            self.arm_slots = nn.Parameter(
                nn.init.normal_(torch.empty(config.arms, width), std=0.1)
            )
        if config.state_token == "prefix":
            self.state_proj = nn.Linear(config.state_dim, width)
        self.language = Gemma(config.language)
        self.flow = FlowHead(config) if config.flow is not None else None

    @property
    def pointing(self) -> PointingTower:
        """vision. Raises ValueError if it is no pointing tower."""
        if not isinstance(self.vision, PointingTower):
            raise ValueError(f"{self.config.name}: the vision tower of this model does not point")
        return self.vision

    @property
    def flow_head(self) -> FlowHead:
        """flow. Raises ValueError if the model has no flow head."""
        if self.flow is None:
            raise ValueError(f"{self.config.name}: this model has no flow head")
        return self.flow

    def slots(self) -> Float[Tensor, "i e"] | None:
        """Embedding of image tokens' arm, for TOKENS of each arm; None for a model of one arm."""
        if self.config.arms == 1:
            return None
        return self.arm_slots.repeat_interleave(TOKENS, 0)

    def embed(
        self,
        image_tokens: Float[Tensor, "b i f"],
        text: Int[Tensor, "b s"],
        state: Float[Tensor, "b n"],
        image_valid: Bool[Tensor, "b i"] | None = None,
    ) -> tuple[Float[Tensor, "b p e"], Bool[Tensor, "b p"]]:
        """The language model's input, and which of it is valid. Arguments as in prefix."""
        words = self.embed_tokens(text) * self.config.language.width**0.5
        seen = self.projector(image_tokens)
        if (slots := self.slots()) is not None:
            seen = seen + slots[: seen.shape[1]]
        parts = [seen.to(words.dtype), words]
        if image_valid is None:
            image_valid = torch.ones_like(image_tokens[..., 0], dtype=torch.bool)
        valid = torch.cat((image_valid, text != 0), 1)
        if self.config.state_token == "prefix":
            parts.append(self.state_proj(state)[:, None])
            valid = F.pad(valid, (0, 1), value=True)
        return torch.cat(parts, 1), valid

    def prefix(
        self,
        image_tokens: Float[Tensor, "b i f"],
        text: Int[Tensor, "b s"],
        state: Float[Tensor, "b n"],
        image_valid: Bool[Tensor, "b i"] | None = None,
    ) -> Prefix:
        """image_tokens: features of the vision tower, before the projector. text: ids, 0 is padding.

        image_valid: false for the tokens of an absent camera or arm; None: all valid.
        A model for several arms also accepts fewer: the tokens of the last arms may be left out.
        """
        x, valid = self.embed(image_tokens, text, state, image_valid)
        mask = block_mask(torch.zeros_like(valid), valid)
        out, cache = self.language(x, positions_of(valid), mask)
        return Prefix(out, cache, valid)

    def continue_with(
        self, prefix: Prefix, tokens: Int[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b s v"], Prefix]:
        """Logits of the token after each of tokens, and the prefix extended by them."""
        grown = self.extend(prefix, tokens)
        return self.logits(grown.out), grown

    def extend(self, prefix: Prefix, tokens: Int[Tensor, "b s"]) -> Prefix:
        """The prefix extended by tokens, causally; its out has these tokens only."""
        x = self.embed_tokens(tokens) * self.config.language.width**0.5
        starts = torch.ones_like(tokens, dtype=torch.bool)
        offset = prefix.valid.sum(-1, keepdim=True)
        positions = offset + torch.arange(tokens.shape[1], device=tokens.device)
        mask = suffix_mask(prefix.valid, starts)
        out, cache = self.language(x, positions, mask, prefix.cache)
        return Prefix(out, cache, torch.cat((prefix.valid, starts), 1))

    def logits(
        self, out: Float[Tensor, "... e"], ids: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "... n"]:
        """Next-token logits through the tied embedding, for the tokens ids only; None: all."""
        weight = self.embed_tokens.weight
        logits = F.linear(out, weight if ids is None else weight[ids])
        if (gemma2 := self.config.language.gemma2) is not None:
            logits = gemma2.logit_cap * torch.tanh(logits / gemma2.logit_cap)
        return logits
