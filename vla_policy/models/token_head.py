"""Actions written by the language model: eight tokens a row, chosen only among the action tokens.

Row order as in RT-2 (arXiv:2307.15818, section 3.2): terminate, position x y z, rotation x y z, gripper.
terminate is discrete and uses bins 0 and 1; every other dimension uses all bins.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from .vla import VLA, Prefix

ROW = 8


def allowed_bins(dimension: int, bins: int) -> int:
    """How many bins, from 0, dimension of a row may use."""
    return 2 if dimension == 0 else bins


@torch.no_grad()
def decode(
    model: VLA,
    prefix: Prefix,
    *,
    first_action_token: int,
    start_token: int,
    rows: int,
    bins: int,
    temperature: float,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "b t 8"]:
    """Bins of rows, token by token over a growing cache.

    first_action_token: vocabulary id of bin 0; the others follow it. start_token opens the answer.
    temperature 0 takes the most likely token.
    """
    b = prefix.out.shape[0]
    token = torch.full((b, 1), start_token, dtype=torch.long, device=prefix.out.device)
    chosen = []
    for i in range(rows * ROW):
        logits, prefix = model.continue_with(prefix, token)
        n = allowed_bins(i % ROW, bins)
        scores = logits[:, -1, first_action_token : first_action_token + n].float()
        if temperature == 0.0:
            pick = scores.argmax(-1)
        else:
            pick = torch.multinomial((scores / temperature).softmax(-1), 1, generator=generator)[
                :, 0
            ]
        chosen.append(pick)
        token = pick[:, None] + first_action_token
    return torch.stack(chosen, 1).unflatten(1, (rows, ROW))
