"""Pointing at what pre-trained encoders know: a frozen trunk sees, a frozen text encoder reads, a small head joins them.

Features of the trunk at three strides become one map of keys at stride 8; the sentence's vector becomes one query. Their
cosine says where the thing is and, by its height, whether it is there at all. What is to be done with it (INTENTS) is
read from the same vector. Trunk and text encoder are optional packages that the sizes name.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.config import WideConfig
from vla_policy.models.efficientnet import CHANNELS, STRIDES

INTENTS = (
    "nothing",
    "pick",
    "tray",
    "pad",
)  # no command; pick up; put in the tray; put on the pad


@dataclass(frozen=True, slots=True)
class Wide:
    """What q sentences mean in each of b images. uv: in the image, 0 to 1. score: logit that it is there."""

    heat: Float[Tensor, "b q p"]
    uv: Float[Tensor, "b q 2"]
    score: Float[Tensor, "b q"]


class WidePointing(nn.Module):
    mean: Float[Tensor, " t"]
    least: Float[Tensor, ""]  # score below which a thing is not there
    grid: Float[Tensor, "p 2"]

    def __init__(self, config: WideConfig) -> None:
        super().__init__()
        w, k, t = config.width, config.key_width, config.text_width
        self.lateral = nn.ModuleList(nn.Conv2d(c, w, 1) for c in CHANNELS)
        self.smooth = nn.Sequential(
            nn.GroupNorm(8, w),
            nn.SiLU(),
            nn.Conv2d(w, w, 3, padding=1),
            nn.GroupNorm(8, w),
            nn.SiLU(),
        )
        self.key = nn.Conv2d(w, k, 1)
        self.query = nn.Linear(t, k)
        self.more = nn.Sequential(nn.Linear(t, 256), nn.SiLU(), nn.Dropout(0.1), nn.Linear(256, k))
        self.intent = nn.Sequential(nn.Linear(t, 64), nn.SiLU(), nn.Linear(64, len(INTENTS)))
        self.sharpness = nn.Parameter(torch.tensor(2.5))  # its exponential multiplies cosines
        self.there = nn.Parameter(torch.tensor([10.0, -5.0]))  # slope and offset of the score
        self.register_buffer("mean", torch.zeros(t))
        self.register_buffer("least", torch.zeros(()))
        side = config.image_px // STRIDES[0]
        centre = (torch.arange(side) + 0.5) / side
        v, u = torch.meshgrid(centre, centre, indexing="ij")
        self.register_buffer("grid", torch.stack((u, v), -1).reshape(-1, 2), persistent=False)

    def keys(self, features: tuple[Tensor, ...]) -> Float[Tensor, "b p k"]:
        """Unit keys of the patches, from the trunk's features."""
        levels = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        x = levels[-1]
        for finer in levels[-2::-1]:
            x = finer + F.interpolate(x, size=finer.shape[2:], mode="nearest")
        units: Tensor = F.normalize(self.key(self.smooth(x)).flatten(2).transpose(1, 2), dim=-1)
        return units

    def queries(self, text: Float[Tensor, "... t"]) -> Float[Tensor, "... k"]:
        """Unit queries of sentence vectors."""
        x = self._centred(text)
        units: Tensor = F.normalize(self.query(x) + self.more(x), dim=-1)
        return units

    def intents(self, text: Float[Tensor, "... t"]) -> Float[Tensor, "... i"]:
        """Logits of INTENTS."""
        logits: Tensor = self.intent(self._centred(text))
        return logits

    def forward(self, features: tuple[Tensor, ...], text: Float[Tensor, "b q t"]) -> Wide:
        return self.point(self.keys(features), text)

    def point(self, keys: Float[Tensor, "b p k"], text: Float[Tensor, "b q t"]) -> Wide:
        """The same from the keys of the patches."""
        cosine = torch.einsum("bqk,bpk->bqp", self.queries(text), keys)
        heat = cosine * self.sharpness.exp()
        highest = heat.argmax(-1)
        centre = self.grid[highest]  # (b, q, 2)
        near = ((self.grid - centre[..., None, :]).square().sum(-1) < 0.09**2).to(heat.dtype)
        weight = heat.softmax(-1) * near
        uv = weight @ self.grid / weight.sum(-1, keepdim=True)
        slope, offset = self.there
        return Wide(heat, uv, slope * cosine.amax(-1) + offset)

    def _centred(self, text: Tensor) -> Tensor:
        """Sentence vectors share a large part, which is taken away."""
        centred: Tensor = (text - self.mean) * text.shape[-1] ** 0.5
        return centred
