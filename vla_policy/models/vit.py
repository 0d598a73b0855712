"""The vision transformer that DINOv2 and SigLIP share: patches in, one feature per patch out, no final norm.

OpenVLA reads the second-to-last block of each tower (arXiv:2406.09246, section 3.1), so depth
counts the computed blocks: one less than the published tower has. GELU is exact, names are timm's.
Source: DINOv2 (arXiv:2304.07193) with registers (arXiv:2309.16588); SigLIP (arXiv:2303.15343).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.config import require_eyes
from vla_policy.parsing.dataclass_json import require_sizes

EPS = 1e-6


@dataclass(frozen=True, slots=True)
class VitConfig:
    """depth: computed blocks.

    registers: register tokens, which imply a class token and layer scales.
    Both come before the patches, have no position, and are left out of the result.
    """

    image_px: int
    patch_px: int
    width: int
    depth: int
    mlp: int
    heads: int
    registers: int

    def __post_init__(self) -> None:
        require_eyes(self)
        require_sizes(self, {"registers": (0, 64)})


class VitAttention(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "b s e"]) -> Float[Tensor, "b s e"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y: Tensor = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = self.proj(y)
        return y


class LayerScale(nn.Module):
    """One factor per channel. OpenVLA stores it as scale_factor, timm as gamma."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        return x * self.scale_factor


class VitMlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "... e"]) -> Float[Tensor, "... e"]:
        x = self.fc2(F.gelu(self.fc1(x)))
        return x


class VitBlock(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        scaled = config.registers > 0
        self.norm1 = nn.LayerNorm(config.width, eps=EPS)
        self.attn = VitAttention(config)
        self.ls1 = LayerScale(config.width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(config.width, eps=EPS)
        self.mlp = VitMlp(config.width, config.mlp)
        self.ls2 = LayerScale(config.width) if scaled else nn.Identity()

    def forward(self, x: Float[Tensor, "b s e"]) -> Float[Tensor, "b s e"]:
        x = x + self.ls1(self.attn(self.norm1(x)))
        x = x + self.ls2(self.mlp(self.norm2(x)))
        return x


class PatchEmbed(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b s e"]:
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class Vit(nn.Module):
    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        patches = (config.image_px // config.patch_px) ** 2
        self.registers = config.registers
        self.patch_embed = PatchEmbed(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, config.width))
        if config.registers:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
            self.reg_token = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.blocks = nn.ModuleList(VitBlock(config) for _ in range(config.depth))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b s e"]:
        """images normalised as in training; returns one token per patch, row by row."""
        x: Tensor = self.patch_embed(images) + self.pos_embed
        if self.registers:
            first = torch.cat((self.cls_token, self.reg_token), 1).expand(len(x), -1, -1)
            x = torch.cat((first, x), 1)
        for block in self.blocks:
            x = block(x)
        return x[:, 1 + self.registers :] if self.registers else x
