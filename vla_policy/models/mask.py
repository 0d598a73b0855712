"""Attention masks from blocks.

Each token has `starts_block`: true opens a new block. A token attends to its own block, in both
directions, and to all earlier ones, and never to a padded token:

    starts  1 0 0 | 1 | 1 0      image and text, state, actions (pi0)
            1 0 0 | 1 | 1 | 1    image and text, then one token at a time (text or action tokens)

Source: pi0 (arXiv:2410.24164) appendix B; PaliGemma (arXiv:2407.07726) prefix-LM.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def block_mask(
    starts_block: Bool[Tensor, "b t"], valid: Bool[Tensor, "b t"]
) -> Bool[Tensor, "b t t"]:
    """mask[b, i, j] is true where token i may attend to token j."""
    block = starts_block.long().cumsum(-1)
    sees = block[:, None, :] <= block[:, :, None]
    return sees & valid[:, None, :] & valid[:, :, None]


def suffix_mask(
    prefix_valid: Bool[Tensor, "b p"], starts_block: Bool[Tensor, "b s"]
) -> Bool[Tensor, "b s p+s"]:
    """Mask of s suffix tokens, all valid, over a cached prefix followed by the suffix itself."""
    b, s = starts_block.shape
    own = block_mask(starts_block, torch.ones_like(starts_block))
    return torch.cat((prefix_valid[:, None, :].expand(b, s, -1), own), dim=-1)


def positions_of(valid: Bool[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Positions that skip padding: cumulative count of valid tokens, from 0."""
    return (valid.long().cumsum(-1) - 1).clamp(min=0)
