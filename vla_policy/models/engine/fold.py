"""A network's weights rewritten so that less is computed per token. All of it is exact in real arithmetic.

    norm        RMSNorm's (1 + w) goes into the columns of the products that read it
    rotation    pairs (i, i + d/2) of queries and keys become neighbours, so that a rotation is one complex product;
                scores do not change, since both are permuted alike
    qkv         queries, keys and values in one product; keys and values only in a last layer whose
                output is not read
    time        W [A x + a ; t] + b = (W_x A) x + (W_x a + W_t t + b): action and time layers of pi0 become one
                product and a bias for each flow time
    modulation  pi0.5's scale, shift and gate of every norm for every flow time, before the first observation

Source: arXiv:2510.26742 section 4 for the idea of the first, third and fourth.
"""

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vla_policy.models.engine.linear import Gated, Joined, Linear, Prepare, gated
from vla_policy.models.flow import time_embedding
from vla_policy.models.gemma import AdaRMSNorm, Attention, Block, Gemma, Gemma2Block, RMSNorm
from vla_policy.models.vla import FlowHead

Modulation = tuple[Tensor, Tensor, Tensor]  # 1 + scale, shift, gate: each [n, 1, e]


@dataclass(frozen=True, slots=True)
class AfterAttention:
    """A block after its attention: the output projection and the feed-forward layer."""

    out: Linear
    gated: Gated | Joined
    down: Linear


@dataclass(frozen=True, slots=True)
class FoldedLayer:
    """One block. qkv: of all heads; without queries if after is None (cache only)."""

    qkv: Linear
    after: AfterAttention | None


@dataclass(frozen=True, slots=True)
class Stack:
    """A Gemma stack; its final norm belongs to the network that reads it."""

    layers: tuple[FoldedLayer, ...]
    width: int
    heads: int
    kv_heads: int
    head_dim: int


@dataclass(frozen=True, slots=True)
class Condition:
    """All that depends only on the flow time, for n times.

    bias: of the action layer. norms: two per layer and the last.
    """

    bias: Tensor
    norms: tuple[Modulation, ...] | None

    def __getitem__(self, i: int) -> "Condition":
        """The i-th time only."""
        return self._each(lambda x: x[i : i + 1])

    def unflatten(self, shape: tuple[int, ...]) -> "Condition":
        """For n = b * t times, one per row: b by t."""
        return self._each(lambda x: x.view(*shape, -1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        norms = self.norms and tuple((change(s), change(h), change(g)) for s, h, g in self.norms)
        return Condition(change(self.bias), norms)


@dataclass(frozen=True, slots=True)
class FoldedHead:
    """The flow head. state: None where the state is not in the suffix; hidden: pi0's second time layer, or None."""

    stack: Stack
    state: Linear | None
    actions: Tensor
    hidden: Linear | None
    out: Linear
    condition: Callable[[Tensor], Condition]


def fold_stack(
    gemma: Gemma, prepare: Prepare, *, cache_only: bool, release: bool = False
) -> Stack:
    """gemma in products made by prepare.

    cache_only: its output is unused; last layer keys, values.
    release: free gemma's own products one after another, so that there are never two copies; gemma
    then cannot run.
    """
    layers = []
    for i, block in enumerate(gemma.layers):
        last = i == len(gemma.layers) - 1
        layers.append(_fold_layer(block, prepare, cache_only=cache_only and last, release=release))
        if release:
            give_back()
    c = gemma.config
    return Stack(tuple(layers), c.width, c.heads, c.kv_heads, c.head_dim)


def fold_head(
    head: FlowHead,
    prepare: Prepare,
    project: Prepare,
    work: torch.dtype,
    *,
    release: bool = False,
) -> FoldedHead:
    """head in products made by prepare for the stack, in dtype work, and by project for the rest.

    release: as in fold_stack.
    """
    stack = fold_stack(head.expert, prepare, cache_only=False, release=release)
    dtype = head.action_in_proj.weight.dtype
    inner, out = head.action_in_proj, head.action_out_proj
    gain = _gain(head.expert.norm)
    final = torch.ones_like(out.weight[0]) if gain is None else gain
    actions: Tensor = inner.weight
    hidden: Linear | None = None
    if not head.conditioned:
        wx, wt = head.action_time_mlp_in.weight.chunk(2, dim=1)
        actions = (wx.double() @ inner.weight.double()).to(dtype)
        hidden = project(head.action_time_mlp_out.weight, head.action_time_mlp_out.bias)

    def condition(time: Tensor) -> Condition:
        t = time_embedding(time, head.width).to(dtype)
        if head.conditioned:
            c = F.silu(head.time_mlp_out(F.silu(head.time_mlp_in(t))))
            norms = [
                n
                for b in head.expert.layers
                for n in (b.input_layernorm, b.post_attention_layernorm)
            ]
            return Condition(
                inner.bias.expand(len(t), 1, -1),
                tuple(_modulation(norm, c, work) for norm in (*norms, head.expert.norm)),
            )
        bias = F.linear(t, wt, head.action_time_mlp_in.bias) + F.linear(inner.bias, wx)
        return Condition(bias[:, None], None)

    return FoldedHead(
        stack=stack,
        state=project(head.state_proj.weight, head.state_proj.bias)
        if head.state_in_suffix
        else None,
        actions=actions,
        hidden=hidden,
        out=project(out.weight, out.bias, final),
        condition=condition,
    )


def _fold_layer(
    block: Block | Gemma2Block, prepare: Prepare, *, cache_only: bool, release: bool
) -> FoldedLayer:
    attention, mlp = block.self_attn, block.mlp
    before, after = _gain(block.input_layernorm), _gain(block.post_attention_layernorm)

    def give_up(*modules: nn.Module) -> None:
        for module in modules if release else ():
            module.to("meta")

    qkv = prepare(_joined(attention, queries=not cache_only), None, before)
    if cache_only:
        give_up(attention, mlp)
        return FoldedLayer(qkv, None)
    give_up(attention.q_proj, attention.k_proj, attention.v_proj)
    out = prepare(attention.o_proj.weight, None)
    give_up(attention.o_proj)
    done = partial(give_up, mlp.gate_proj)
    both = gated(mlp.gate_proj.weight, mlp.up_proj.weight, prepare, after, done)
    give_up(mlp.gate_proj, mlp.up_proj)
    down = prepare(mlp.down_proj.weight, None)
    give_up(mlp.down_proj)
    return FoldedLayer(qkv, AfterAttention(out, both, down))


def _joined(attention: Attention, *, queries: bool) -> Tensor:
    """Weight of queries (optional), keys and values, the pairs of a rotation adjacent."""
    turned = (attention.q_proj, attention.k_proj) if queries else (attention.k_proj,)
    parts = [_neighbours(p.weight, attention.head_dim) for p in turned]
    return torch.cat((*parts, attention.v_proj.weight))


def _gain(norm: AdaRMSNorm | RMSNorm) -> Tensor | None:
    """(1 + w) of an RMSNorm; None if its gain depends on the time."""
    return None if isinstance(norm, AdaRMSNorm) else 1.0 + norm.weight.float()


def _neighbours(weight: Tensor, head_dim: int) -> Tensor:
    """Rows (i, i + d/2) of every head adjacent."""
    pairs = weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2)
    turned: Tensor = pairs.reshape(weight.shape)
    return turned


def _modulation(norm: AdaRMSNorm | RMSNorm, condition: Tensor, work: torch.dtype) -> Modulation:
    if isinstance(norm, RMSNorm):
        raise ValueError("norm: got one without a condition, expected that of a conditioned stack")
    modulation = norm.dense(condition.to(norm.dense.weight.dtype)).float()[:, None]
    scale, shift, gate = modulation.chunk(3, dim=-1)
    return 1.0 + scale, shift.contiguous(), gate.to(work).contiguous()


def give_back() -> None:
    """Return freed memory between blocks in use to the system, which glibc would keep.

    A folded matrix rarely fits into the memory of the one it replaces. Does nothing without glibc.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
