"""Pointing with pre-trained encoders: a small head joins a frozen image trunk and a text encoder.

Features of the trunk at three strides become one map of keys at stride 8; the sentence's vector becomes one query. Their
cosine says where the thing is. Whether it is there at all is told by comparing it with what all known names say of the same
image, and of enlarged crops of the best places (models/crops.py). What is to be done with it (INTENTS) is read from the same
vector. Trunk and text encoder are optional packages that the sizes name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vla_policy.models.config import WideConfig
from vla_policy.models.crops import CANDIDATES, FIGURE_WIDTH, CropKeys
from vla_policy.models.efficientnet import CHANNELS, STRIDES
from vla_policy.models.reader import Reader

INTENTS = (
    "nothing",
    "pick",
    "tray",
    "pad",
)  # no command; pick up; put in the tray; put on the pad


# What tells that a thing is there: its cosine; by how much it is more than that of other names anywhere in the image, in
# their spread; than that of other names at the same place; and than its own elsewhere.
EVIDENCE = ("cosine", "than others", "than others here", "than elsewhere")
# The same of a crop of the place: its cosine, the log probability that crop and sentence name the same, and by how much the
# cosine is more than that of other names.
CLOSER = ("cosine", "same name", "than others")
CLEAR = 20.0  # multiplies cosines between a sentence and known names: which of them it means
LEAST_LOG = -12.0
SAME = 0.8  # cosine of queries that mean the same thing
HIDDEN = 0.3  # of the cosine, what the hand hides of the picture of what it holds
SPOT = 0.1  # of the image side: what is nearer is the same place
UNSURE = (
    4.0  # of the attention's logit: between candidates whose difference is less, crops decide too
)
AROUND = 0.09  # of the image side, over which the place of a patch is averaged

# float[b, q, c, 2] places in the images -> float[b, q, c, k], the unit keys of crops around them
LookCloser = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Wide:
    """What q sentences mean in each of b images. uv: in the image, 0 to 1. score: by the height of the cosine alone."""

    heat: Float[Tensor, "b q p"]
    uv: Float[Tensor, "b q 2"]
    score: Float[Tensor, "b q"]


@dataclass(frozen=True, slots=True)
class _Closer:
    """What the crop of a candidate shows. at: its patch. own, named: cosines with the sentence and with all known names.

    same: log probability that sentence and crop are of the same name.
    """

    at: Int[Tensor, "b q"]
    own: Float[Tensor, "b q"]
    same: Float[Tensor, "b q"]
    named: Float[Tensor, "b q n"]


class WidePointing(nn.Module):
    mean: Float[Tensor, " t"]
    known: Float[Tensor, "n k"]  # queries of all names that it was trained on
    shown: Bool[
        Tensor, " n"
    ]  # those of things in robot data, which it is surer of, whether they are there or not
    sure: Float[
        Tensor, "2 s"
    ]  # weights of EVIDENCE and CLOSER, and an offset; of all other names, and of those
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
        self.crop_px = config.crop_px
        self.crops = CropKeys(k) if config.crop_px else None
        self.reader = Reader(t, config.reads) if config.reads else None
        self.figures = CropKeys(k, FIGURE_WIDTH) if config.reads else None
        self.sharpness = nn.Parameter(torch.tensor(2.5))  # its exponential multiplies cosines
        self.there = nn.Parameter(torch.tensor([10.0, -5.0]))  # slope and offset of the score
        self.register_buffer("mean", torch.zeros(t))
        self.register_buffer("known", torch.zeros(config.known, k))
        self.register_buffer("shown", torch.zeros(config.known, dtype=torch.bool))
        told = len(EVIDENCE) + (len(CLOSER) if config.crop_px else 0)
        self.register_buffer("sure", torch.zeros(2, told + 1))
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
        x = self.centred(text)
        units: Tensor = F.normalize(self.query(x) + self.more(x), dim=-1)
        return units

    def intents(self, text: Float[Tensor, "... t"]) -> Float[Tensor, "... i"]:
        """Logits of INTENTS."""
        logits: Tensor = self.intent(self.centred(text))
        return logits

    def forward(self, features: tuple[Tensor, ...], text: Float[Tensor, "b q t"]) -> Wide:
        return self.point(self.keys(features), text)

    def point(
        self,
        keys: Float[Tensor, "b p k"],
        text: Float[Tensor, "b q t"],
        held: Float[Tensor, "b 2"] | None = None,
        closer: LookCloser | None = None,
        most: int = CANDIDATES,
    ) -> Wide:
        """The same from the keys of the patches. held: where in the images something is held; its picture is half hidden.

        closer: decides between candidates, of which there are at most most, where any two are nearly as likely.
        """
        queries = self.queries(text)
        cosine = torch.einsum("bqk,bpk->bqp", queries, keys)
        if held is not None:
            away = (self.grid - held[:, None]).square().sum(-1)  # (b, p)
            cosine = cosine + HIDDEN * (away < SPOT**2).to(cosine.dtype)[:, None]
        heat = cosine * self.sharpness.exp()
        at = heat.argmax(-1)
        if closer is not None and self.crops is not None:
            places = self.candidates(heat, most)
            if places.shape[-1] > 1:
                at = self._closer(self.crops, queries, cosine, places, closer).at
        slope, offset = self.there
        return Wide(heat, self._around(heat, at), slope * cosine.amax(-1) + offset)

    def seen_at(self, xyz: Float[Tensor, "b 3"]) -> Float[Tensor, "b 2"]:
        """Where in the front image a place of the base frame is."""
        x = F.pad(xyz, (0, 1), value=1.0) @ self.camera.T
        return x[:, :2] / x[:, 2:]

    def presence(
        self,
        keys: Float[Tensor, "b p k"],
        text: Float[Tensor, "b q t"],
        closer: LookCloser | None = None,
        most: int = CANDIDATES,
    ) -> Float[Tensor, "b q"]:
        """Logit that what the sentences name is in the image, above the least: not there where it is below 0."""
        kind = self.is_shown(text).long()
        sure, evidence = self.sure[kind], self.evidence(keys, text, closer, most)
        told: Tensor = (evidence * sure[..., :-1]).sum(-1) + sure[..., -1] - self.least[kind]
        return told

    def is_shown(self, text: Float[Tensor, "b q t"]) -> Bool[Tensor, "b q"]:
        """Whether the sentences name what robot data shows."""
        alike, nearest = torch.einsum("bqk,nk->bqn", self.queries(text), self.known).max(-1)
        return self.shown[nearest] & (alike > SAME)

    def evidence(
        self,
        keys: Float[Tensor, "b p k"],
        text: Float[Tensor, "b q t"],
        closer: LookCloser | None = None,
        most: int = CANDIDATES,
    ) -> Float[Tensor, "b q e"]:
        """EVIDENCE of each sentence in its image, and CLOSER at the candidate that is most likely with both."""
        if (closer is None) != (self.crops is None):
            raise ValueError("closer: a head with crops expects a closer look, any other none")
        queries = self.queries(text)
        cosine = torch.einsum("bqk,bpk->bqp", queries, keys)
        other = torch.einsum("bqk,nk->bqn", queries, self.known) < SAME
        at, close = cosine.argmax(-1), cosine.new_zeros(*cosine.shape[:2], 0)
        if closer is not None and self.crops is not None:
            places = self.candidates(cosine * self.sharpness.exp(), most)
            seen = self._closer(self.crops, queries, cosine, places, closer)
            rivals = seen.named.masked_fill(~other, -1.0).amax(-1)
            at, close = seen.at, torch.stack((seen.own, seen.same, seen.own - rivals), -1)
        best = cosine.gather(-1, at[..., None])[..., 0]
        there = torch.einsum("nk,bpk->bpn", self.known, keys)  # (b, p, n)
        highest = there.amax(1)[:, None].expand_as(other)
        count = other.sum(-1).clamp(min=1)
        mean = (highest * other).sum(-1) / count
        spread = (((highest - mean[..., None]).square() * other).sum(-1) / count).sqrt()
        here = there.gather(1, at[..., None].expand(-1, -1, there.shape[-1]))  # (b, q, n)
        rival = here.masked_fill(~other, -1.0).amax(-1)
        elsewhere = cosine.masked_fill(self._near(at, SPOT), -1.0).amax(-1)
        ratio = (best - mean) / spread.clamp(min=1e-6)
        far = torch.stack((best, ratio, best - rival, best - elsewhere), -1)
        return torch.cat((far, close), -1)

    def candidates(
        self, heat: Float[Tensor, "b q p"], most: int = CANDIDATES
    ) -> Int[Tensor, "b q c"]:
        """The likeliest patches, each another place: up to most, as long as any is nearly as likely as the first."""
        found, left = [heat.argmax(-1)], heat
        least = heat.amax(-1) - UNSURE
        while len(found) < most:
            left = left.masked_fill(self._near(found[-1], SPOT), float("-inf"))
            if bool((left.amax(-1) <= least).all()):
                break
            found.append(left.argmax(-1))
        return torch.stack(found, -1)

    def _closer(
        self,
        crops: CropKeys,
        queries: Tensor,
        cosine: Tensor,
        places: Tensor,
        closer: LookCloser,
    ) -> _Closer:
        """The candidate that is likeliest by patches and crops together, of those nearly as likely as the first."""
        heat = cosine * self.sharpness.exp()
        shown = closer(torch.stack([self._around(heat, one) for one in places.unbind(-1)], 2))
        meant = (CLEAR * queries @ self.known.T).softmax(-1)  # (b, q, n)
        chances = crops.logits(shown, self.known).softmax(-1)[..., :-1]  # (b, q, c, n)
        same = torch.einsum("bqn,bqcn->bqc", meant, chances).log().clamp(min=LEAST_LOG)
        likely = heat.gather(-1, places)
        far = likely <= likely[..., :1] - UNSURE  # never the first
        which = (likely + same).masked_fill(far, float("-inf")).argmax(-1, keepdim=True)
        key = shown.gather(2, which[..., None].expand(-1, -1, -1, shown.shape[-1]))[:, :, 0]
        return _Closer(
            places.gather(-1, which)[..., 0],
            torch.einsum("bqk,bqk->bq", queries, key),
            same.gather(-1, which)[..., 0],
            key @ self.known.T,
        )

    def _near(self, at: Int[Tensor, "b q"], radius: float) -> Bool[Tensor, "b q p"]:
        """Patches within radius of patch at."""
        near: Tensor = (self.grid - self.grid[at][..., None, :]).square().sum(-1) <= radius**2
        return near

    def _around(
        self, heat: Float[Tensor, "b q p"], at: Int[Tensor, "b q"]
    ) -> Float[Tensor, "b q 2"]:
        """The mean place of the attention around patch at."""
        near = self._near(at, AROUND)
        weight = heat.masked_fill(~near, float("-inf")).softmax(-1)
        return weight @ self.grid

    def centred(self, text: Tensor) -> Tensor:
        """text without the mean of all sentence vectors, scaled."""
        centred: Tensor = (text - self.mean) * text.shape[-1] ** 0.5
        return centred
