"""SigLIP on folded weights: every camera of every observation in one call."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vla_policy.models.engine.fold import give_back
from vla_policy.models.engine.linear import Linear, Prepare
from vla_policy.models.siglip import EPS, Siglip

Norm = tuple[Tensor, Tensor]  # weight, bias


@dataclass(frozen=True, slots=True)
class VisionLayer:
    norm1: Norm
    qkv: Linear
    out: Linear
    norm2: Norm
    fc1: Linear
    fc2: Linear


@dataclass(frozen=True, slots=True)
class Vision:
    """patches: the strided convolution as one product. places: position embedding, [1, s, e]. scores: see choose."""

    patch_px: int
    heads: int
    scores: torch.dtype
    patches: Linear
    places: Tensor
    layers: tuple[VisionLayer, ...]
    norm: Norm

    def __call__(self, images: Tensor) -> Tensor:
        """images[n, 3, h, w] in [-1, 1] to features[n, s, e], one per patch."""
        x = self.patches(_squares(images, self.patch_px).to(self.places.dtype)) + self.places
        x = x.to(self.norm[0].dtype)
        for layer in self.layers:
            y = layer.qkv(_normed(x, layer.norm1)).to(self.scores)
            y = y.unflatten(-1, (3, self.heads, -1))
            q, k, v = y.permute(2, 0, 3, 1, 4)  # (b, h, s, d) each
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            x = layer.out.plus(y.to(x.dtype), x)
            x = layer.fc2.plus(layer.fc1.gelu(_normed(x, layer.norm2)), x)
        return _normed(x, self.norm)


def fold_vision(
    vision: Siglip,
    prepare: Prepare,
    first: Prepare,
    dtypes: tuple[torch.dtype, torch.dtype],
    *,
    release: bool = False,
) -> Vision:
    """vision in products made by prepare; the patches by first, in their own precision.

    dtypes: that prepare works in, and that of the attention (choose.attention).
    release: as in fold.fold_stack.
    """

    def norm(module: torch.nn.LayerNorm) -> Norm:
        return module.weight.to(dtypes[0]), module.bias.to(dtypes[0])

    conv = vision.patch_embedding
    layers = []
    for block in vision.layers:
        a = block.self_attn
        qkv = (a.q_proj, a.k_proj, a.v_proj)
        layers.append(
            VisionLayer(
                norm1=norm(block.layer_norm1),
                qkv=prepare(torch.cat([p.weight for p in qkv]), torch.cat([p.bias for p in qkv])),
                out=prepare(a.out_proj.weight, a.out_proj.bias),
                norm2=norm(block.layer_norm2),
                fc1=prepare(block.fc1.weight, block.fc1.bias),
                fc2=prepare(block.fc2.weight, block.fc2.bias),
            )
        )
        if release:
            for module in (a, block.fc1, block.fc2):
                module.to("meta")
            give_back()
    return Vision(
        patch_px=conv.kernel_size[0],
        heads=vision.layers[0].self_attn.heads,
        scores=dtypes[1],
        patches=first(conv.weight.flatten(1), conv.bias),
        places=vision.position_embedding.detach().to(conv.weight.dtype)[None],
        layers=tuple(layers),
        norm=norm(vision.post_layernorm),
    )


def _normed(x: Tensor, norm: Norm) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], *norm, eps=EPS)


def _squares(images: Tensor, px: int) -> Tensor:
    """[n, 3, h, w] to one row of 3 * px * px numbers per patch, in the order of a convolution's weight.

    Pixels at the lower and right edge outside whole patches are ignored, as by a convolution
    without padding.
    """
    n, c, (down, across) = *images.shape[:2], (side // px for side in images.shape[2:])
    rows = images[:, :, : down * px, : across * px].reshape(n, c, down, px, across, px)
    return rows.permute(0, 2, 4, 1, 3, 5).reshape(n, down * across, c * px * px)
