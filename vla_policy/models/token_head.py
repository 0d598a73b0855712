"""Actions written by the language model: eight tokens a row, chosen among the action tokens only.

Row order as in RT-2 (arXiv:2307.15818, section 3.2): terminate, position x y z, rotation x y z, gripper.
terminate is discrete and uses bins 0 and 1; every other dimension uses all bins.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vla_policy.models.codec import UniformBins
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import Array

ROW = 8
TERMINATE = 0  # its column


def allowed_bins(dimension: int, bins: int) -> int:
    """How many bins, from 0, dimension of a row may use."""
    return 2 if dimension == TERMINATE else bins


def after_prefix(model: VLA, prefix: Prefix) -> Float[Tensor, "b v"]:
    """Logits of the token that follows the last valid token of the prefix's text."""
    steps = torch.arange(prefix.valid.shape[1], device=prefix.valid.device)
    last = (prefix.valid * steps).argmax(-1)
    return model.logits(prefix.out[torch.arange(len(last), device=last.device), last])


@torch.no_grad()
def decode(
    model: VLA,
    prefix: Prefix,
    logits: Float[Tensor, "b v"],
    *,
    action_ids: Int[Tensor, " n"],
    rows: int,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "b t 8"]:
    """Bins of rows, token by token over a growing cache.

    logits: of the first token. action_ids: vocabulary id of each bin. temperature 0 takes the most likely token.
    """
    chosen: list[Tensor] = []
    for i in range(rows * ROW):
        ids = action_ids[: allowed_bins(i % ROW, len(action_ids))]
        if i:
            prefix = model.extend(prefix, action_ids[chosen[-1]][:, None])
            scores = model.logits(
                prefix.out[:, -1], ids
            )  # only the action ids of a large vocabulary
        else:
            scores = logits[:, ids]
        chosen.append(_pick(scores.float(), temperature, generator))
    bins: Tensor = torch.stack(chosen, 1).unflatten(1, (rows, ROW))
    return bins


@torch.no_grad()
def write(
    model: VLA,
    prefix: Prefix,
    logits: Float[Tensor, "1 v"],
    *,
    limit: int,
    stop_id: int,
    is_end: Callable[[list[int]], bool] = lambda ids: False,
) -> tuple[list[int], Prefix, Float[Tensor, "1 v"]]:
    """The most likely tokens of the whole vocabulary, for a batch of one.

    Ends before stop_id, when is_end(written tokens), or after limit tokens. logits: of the first.
    Returns the tokens, the prefix extended by all of them and the logits of the next.
    """
    ids: list[int] = []
    while len(ids) < limit and not is_end(ids):
        token = logits.argmax(-1)
        if token.item() == stop_id:
            break
        ids.append(int(token))
        logits, prefix = model.continue_with(prefix, token[:, None])
        logits = logits[:, -1]
    return ids, prefix, logits


def actions_of(bins: Array, count: int) -> Array:
    """int[..., 8] bins to float64[..., 8] normalised actions; terminate is -1 or 1."""
    actions = UniformBins(count).decode(bins)
    actions[..., TERMINATE] = bins[..., TERMINATE] * 2.0 - 1.0
    return actions


def bins_of(actions: Array, count: int) -> Array:
    """float[..., 8] normalised actions to int64[..., 8] bins; terminate is bin 1 above 0."""
    bins = UniformBins(count).encode(actions)
    bins[..., TERMINATE] = np.asarray(actions)[..., TERMINATE] > 0
    return bins


def _pick(
    scores: Float[Tensor, "b n"], temperature: float, generator: torch.Generator | None
) -> Int[Tensor, " b"]:
    if temperature == 0.0:
        return scores.argmax(-1)
    chances = (scores / temperature).softmax(-1)
    return torch.multinomial(chances, 1, generator=generator)[:, 0]
