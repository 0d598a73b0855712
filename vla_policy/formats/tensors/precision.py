"""Which weights stay in float32 in a bfloat16 model: the same as in openpi."""

import re

import torch

# Patch and position embedding, Gemma's norms (and pi0.5's conditioned ones), the projections around the expert.
KEPT = re.compile(
    r"vision\.(patch_embedding|position_embedding)"
    r"|(language|flow\.expert)\.(.*layernorm|norm)\."
    r"|flow\.(state_proj|action_|time_mlp_)"
)


def dtype_of(key: str, own: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    """The dtype of tensor key of a VLA in memory.

    own: in the file. wanted: of the model, None: own.
    A file in bfloat16 implies a bfloat16 model, so the float32 exceptions apply in both cases.
    """
    asked = own if wanted is None else wanted
    if asked in (torch.bfloat16, torch.float16) and KEPT.match(key):
        return torch.float32
    return asked
