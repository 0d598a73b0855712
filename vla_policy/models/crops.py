"""Recognition of crops: an enlarged part of the front image by the same frozen trunk, as a key among the queries of names.

A box is about 28 px wide in an image of 224 px, which is three patches at stride 8. Enlarged it is seen at the size of things
that the trunk was trained on. One crop is seen of each place where the named thing may be.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.efficientnet import CHANNELS

WINDOW = 0.25  # side of a crop, of the image side
FIGURE_WINDOW = 0.15  # of one that is to show a figure, which must be seen larger
CANDIDATES = 3  # places that are looked at closely, for each sentence
FIGURE_CANDIDATES = 6  # for one that names a figure: far away all boxes with figures look alike
CELLS = (2, 2, 1)  # to which the middle of the features at each stride is averaged
WIDTH, FIGURE_WIDTH = 256, 64
POOLED = tuple(c * n * n for c, n in zip(CHANNELS, CELLS, strict=True))


class CropKeys(nn.Module):
    """Unit keys of crops from the trunk's features, and what each crop shows."""

    def __init__(self, key_width: int, width: int = WIDTH) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in POOLED)
        self.key = nn.Sequential(
            nn.Dropout(0.1),
            nn.Linear(sum(POOLED), width),
            nn.SiLU(),
            nn.Dropout(0.2),
            nn.Linear(width, key_width),
        )
        self.sharpness = nn.Parameter(torch.tensor(3.0))  # its exponential multiplies cosines
        self.nothing = nn.Parameter(torch.tensor(5.0))  # logit of a crop that shows no thing

    def forward(self, pooled: Float[Tensor, "... f"]) -> Float[Tensor, "... k"]:
        parts = pooled.split(POOLED, -1)
        x = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], -1)
        units: Tensor = F.normalize(self.key(x), dim=-1)
        return units

    def logits(
        self, keys: Float[Tensor, "... k"], queries: Float[Tensor, "n k"]
    ) -> Float[Tensor, "... m"]:
        """Of each of n names, and last of none of them."""
        named = keys @ queries.T * self.sharpness.exp()
        return torch.cat((named, self.nothing.expand(*named.shape[:-1], 1)), -1)


def pooled(features: tuple[Tensor, ...]) -> Float[Tensor, "n f"]:
    """The middle half of crops' features at each stride, averaged to CELLS."""
    parts = []
    for level, cells in zip(features, CELLS, strict=True):
        edge = level.shape[-1] // 4
        middle = level[..., edge : level.shape[-2] - edge, edge : level.shape[-1] - edge]
        parts.append(F.adaptive_avg_pool2d(middle, cells).flatten(1))
    return torch.cat(parts, 1)


def cut(
    image: np.ndarray, uv: Float[Tensor, "n 2"], px: int, window: float = WINDOW
) -> np.ndarray:
    """uint8[n, px, px, 3]: the squares around uv of uint8[h, w, 3], enlarged; beyond its border as at the border.

    uv: 0 to 1. window: side of a square, of the image side.
    """
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None]
    step = (torch.arange(px, device=uv.device) + 0.5) / px - 0.5
    v, u = torch.meshgrid(step, step, indexing="ij")
    grid = 2 * (uv[:, None, None] + window * torch.stack((u, v), -1)) - 1  # -1 to 1 over the image
    seen = F.grid_sample(
        picture.to(uv.device).expand(len(uv), -1, -1, -1),
        grid,
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    crops: np.ndarray = seen.round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return crops
