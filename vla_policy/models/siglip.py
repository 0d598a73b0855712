"""SigLIP vision transformer: patches in, one feature per patch out.

Source: SigLIP (arXiv:2303.15343) as used by PaliGemma; ends with post_layernorm, has no pooling head.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.config import SiglipConfig
from vla_policy.models.layers import Layers

EPS = 1e-6


class SiglipAttention(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "b s e"]) -> Float[Tensor, "b s e"]:
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        y: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = self.out_proj(y)
        return y


class SiglipBlock(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, eps=EPS)
        self.self_attn = SiglipAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=EPS)
        self.fc1 = nn.Linear(config.width, config.mlp)
        self.fc2 = nn.Linear(config.mlp, config.width)

    def forward(self, x: Float[Tensor, "b s e"]) -> Float[Tensor, "b s e"]:
        x = x + self.self_attn(self.layer_norm1(x))
        x = x + self.fc2(F.gelu(self.fc1(self.layer_norm2(x)), approximate="tanh"))
        return x


class Siglip(nn.Module):
    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        tokens = (config.image_px // config.patch_px) ** 2
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)
        self.position_embedding = nn.Parameter(torch.zeros(tokens, config.width))
        self.layers: Layers[SiglipBlock]
        self.layers = Layers(SiglipBlock(config) for _ in range(config.depth))
        self.post_layernorm = nn.LayerNorm(config.width, eps=EPS)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b s e"]:
        """images in [-1, 1]; returns one token per patch, row by row."""
        x: Tensor = self.patch_embedding(images).flatten(2).transpose(1, 2)  # (b, s, e)
        x = (x + self.position_embedding).to(self.post_layernorm.weight.dtype)
        for layer in self.layers:
            x = layer(x)
        x = self.post_layernorm(x)
        return x
