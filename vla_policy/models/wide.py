"""Pointing with pre-trained encoders: a small head joins a frozen image trunk and a text encoder.

Features of the trunk at three strides become one map of keys at stride 8; the sentence's vector becomes one query. Their
cosine says where the thing is. Whether it is there at all is told by comparing it with what all known names say of the same
image. What is to be done with it (INTENTS) is read from the same vector. Trunk and text encoder are optional packages that the sizes name.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vla_policy.models.config import WideConfig
from vla_policy.models.efficientnet import CHANNELS, STRIDES

INTENTS = (
    "nothing",
    "pick",
    "tray",
    "pad",
)  # no command; pick up; put in the tray; put on the pad


# What tells that a thing is there: its cosine; by how much it is more than that of other names anywhere in the image, in
# their spread; than that of other names at the same place; and than its own elsewhere.
EVIDENCE = ("cosine", "than others", "than others here", "than elsewhere")
SAME = 0.8  # cosine of queries that mean the same thing
HIDDEN = 0.3  # of the cosine, what the hand hides of the picture of what it holds
SPOT = 0.1  # of the image side: what is nearer is the same place


@dataclass(frozen=True, slots=True)
class Wide:
    """What q sentences mean in each of b images. uv: in the image, 0 to 1. score: by the height of the cosine alone."""

    heat: Float[Tensor, "b q p"]
    uv: Float[Tensor, "b q 2"]
    score: Float[Tensor, "b q"]


class WidePointing(nn.Module):
    mean: Float[Tensor, " t"]
    known: Float[Tensor, "n k"]  # queries of all names that it was trained on
    shown: Bool[
        Tensor, " n"
    ]  # those of things in robot data, which it is surer of, whether they are there or not
    sure: Float[
        Tensor, "2 s"
    ]  # weights of EVIDENCE, and an offset; of all other names, and of those
    least: Float[Tensor, " 2"]  # of presence, below which a thing is not there
    camera: Float[
        Tensor, "3 4"
    ]  # projects the base frame into the front image, as on average in training
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
        self.register_buffer("known", torch.zeros(config.known, k))
        self.register_buffer("shown", torch.zeros(config.known, dtype=torch.bool))
        self.register_buffer("sure", torch.zeros(2, len(EVIDENCE) + 1))
        self.register_buffer("least", torch.zeros(2))
        self.register_buffer("camera", torch.eye(3, 4))
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

    def point(
        self,
        keys: Float[Tensor, "b p k"],
        text: Float[Tensor, "b q t"],
        held: Float[Tensor, "b 2"] | None = None,
    ) -> Wide:
        """The same from the keys of the patches. held: where in the images something is held; its picture is half hidden."""
        cosine = torch.einsum("bqk,bpk->bqp", self.queries(text), keys)
        if held is not None:
            away = (self.grid - held[:, None]).square().sum(-1)  # (b, p)
            cosine = cosine + HIDDEN * (away < SPOT**2).to(cosine.dtype)[:, None]
        heat = cosine * self.sharpness.exp()
        highest = heat.argmax(-1)
        centre = self.grid[highest]  # (b, q, 2)
        near = ((self.grid - centre[..., None, :]).square().sum(-1) < 0.09**2).to(heat.dtype)
        weight = heat.softmax(-1) * near
        uv = weight @ self.grid / weight.sum(-1, keepdim=True)
        slope, offset = self.there
        return Wide(heat, uv, slope * cosine.amax(-1) + offset)

    def seen_at(self, xyz: Float[Tensor, "b 3"]) -> Float[Tensor, "b 2"]:
        """Where in the front image a place of the base frame is."""
        x = F.pad(xyz, (0, 1), value=1.0) @ self.camera.T
        return x[:, :2] / x[:, 2:]

    def presence(
        self, keys: Float[Tensor, "b p k"], text: Float[Tensor, "b q t"]
    ) -> Float[Tensor, "b q"]:
        """Logit that what the sentences name is in the image, above the least: not there where it is below 0."""
        kind = self.is_shown(text).long()
        sure, evidence = self.sure[kind], self.evidence(keys, text)
        told: Tensor = (evidence * sure[..., :-1]).sum(-1) + sure[..., -1] - self.least[kind]
        return told

    def is_shown(self, text: Float[Tensor, "b q t"]) -> Bool[Tensor, "b q"]:
        """Whether the sentences name what robot data shows."""
        alike, nearest = torch.einsum("bqk,nk->bqn", self.queries(text), self.known).max(-1)
        return self.shown[nearest] & (alike > SAME)

    def evidence(
        self, keys: Float[Tensor, "b p k"], text: Float[Tensor, "b q t"]
    ) -> Float[Tensor, "b q e"]:
        """EVIDENCE of each sentence in its image."""
        queries = self.queries(text)
        cosine = torch.einsum("bqk,bpk->bqp", queries, keys)
        best, at = cosine.max(-1)
        other = torch.einsum("bqk,nk->bqn", queries, self.known) < SAME
        there = torch.einsum("nk,bpk->bpn", self.known, keys)  # (b, p, n)
        highest = there.amax(1)[:, None].expand_as(other)
        count = other.sum(-1).clamp(min=1)
        mean = (highest * other).sum(-1) / count
        spread = (((highest - mean[..., None]).square() * other).sum(-1) / count).sqrt()
        here = there.gather(1, at[..., None].expand(-1, -1, there.shape[-1]))  # (b, q, n)
        rival = here.masked_fill(~other, -1.0).amax(-1)
        away = (self.grid - self.grid[at][..., None, :]).square().sum(-1) > SPOT**2
        elsewhere = cosine.masked_fill(~away, -1.0).amax(-1)
        ratio = (best - mean) / spread.clamp(min=1e-6)
        return torch.stack((best, ratio, best - rival, best - elsewhere), -1)

    def _centred(self, text: Tensor) -> Tensor:
        """text without the mean of all sentence vectors, scaled."""
        centred: Tensor = (text - self.mean) * text.shape[-1] ** 0.5
        return centred
