"""A small vision tower that points: sentences are queries, attention over fine patches answers.

Three learned pointing tokens are read after the sentence by a text encoder; each becomes one query:
*target* (what to act on), *reference* (what it is compared with) and *destination*. A query is one
attention head over the stride-4 patches of the front image, whose values carry the patch's
coordinates. The target's attention also scores patches by their position relative to the reference
("left of", "nearest to"). The wrist image gets the same query, near the projection of the front
answer. The answers, with coordinates relative to the tool, are the image tokens of the language
model.

The patches do not depend on the text, so that many sentences about one image cost little.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vla_policy.models.config import GemmaConfig, PointingConfig
from vla_policy.models.gemma import Gemma
from vla_policy.models.mask import block_mask, positions_of
from vla_policy.models.wide import WidePointing

POINTERS = ("target", "reference", "destination")
COLOURS, SHAPES = 6, 3
FEATURES = 39  # of one image token, see tokens()
NEAR, FAR = (
    0.04,
    60.0,
)  # spread of an already known location, of the image side; and the most that it may add
TOKENS = 4  # target, reference, destination in the front image; target in the wrist image


@dataclass(frozen=True, slots=True)
class PointedPlaces:
    """The locations that n sentences refer to. Metres, base frame unless stated otherwise."""

    xyz: Float[Tensor, "n 3 3"]  # per pointer
    present: Float[Tensor, "n 3"]  # logit: the sentence names such an object
    confidence: Float[Tensor, "n 3 2"]
    value: Float[Tensor, "n 3 v"]
    wrist_xyz: Float[Tensor, "n 3"]  # target relative to the tool
    wrist_visible: Float[Tensor, "n 1"]  # logit
    wrist_confidence: Float[Tensor, "n 2"]
    wrist_value: Float[Tensor, "n v"]

    def pack(self) -> Float[Tensor, "n f"]:
        """All fields side by side, for storage."""
        return torch.cat([getattr(self, f.name).flatten(1) for f in fields(self)], 1)


def unpack(packed: Float[Tensor, "n f"], value_width: int) -> PointedPlaces:
    """Inverse of PointedPlaces.pack."""
    v = value_width
    shapes = ((3, 3), (3,), (3, 2), (3, v), (3,), (1,), (2,), (v,))
    parts = packed.split([math.prod(s) for s in shapes], 1)
    return PointedPlaces(*(p.unflatten(1, s) for p, s in zip(parts, shapes, strict=True)))


@dataclass(frozen=True, slots=True)
class Pointing:
    """The locations, and training targets: attention logits and values over the patches."""

    found: PointedPlaces
    heat: Float[Tensor, "n 3 p"]
    wrist_heat: Float[Tensor, "n p"]
    values: Float[Tensor, "b p v"]  # of the front image


@dataclass(frozen=True, slots=True)
class Front:
    """The locations that q sentences about each of b images refer to, in the front image."""

    ask: Float[Tensor, "b q 3 w"]
    xyz: Float[Tensor, "b q 3 3"]
    value: Float[Tensor, "b q 3 v"]
    confidence: Float[Tensor, "b q 3 2"]
    heat: Float[Tensor, "b q 3 p"]
    values: Float[Tensor, "b p v"]


def _stem(channels: tuple[int, int, int]) -> nn.Sequential:
    """Convolutions to a quarter of the resolution, receptive field 41 px."""
    a, b, c = channels

    def conv(i: int, o: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
        pad = dilation * (kernel - 1) // 2
        return [
            nn.Conv2d(i, o, kernel, stride, pad, dilation=dilation, bias=False),
            nn.GroupNorm(8, o),
            nn.SiLU(),
        ]

    return nn.Sequential(
        *conv(3, a, 5, 2), *conv(a, b, 3, 2), *conv(b, c, 3), *conv(c, c, 3, 1, 2)
    )


class Patches(nn.Module):
    """Patch features of one camera: keys, values and a summary of the whole image."""

    uv: Float[Tensor, "p 2"]

    def __init__(self, config: PointingConfig) -> None:
        super().__init__()
        c = config.channels[2]
        self.stem = _stem(config.channels)
        self.key = nn.Sequential(
            nn.Conv2d(c, 96, 1), nn.SiLU(), nn.Conv2d(96, config.key_width, 1)
        )
        self.value = nn.Conv2d(c, config.value_width, 1)
        self.summary = nn.Linear(c * 16, 32)
        side = config.image_px // 4
        centre = (torch.arange(side) + 0.5) / side
        v, u = torch.meshgrid(centre, centre, indexing="ij")
        self.register_buffer(
            "uv", torch.stack((u, v), -1).reshape(-1, 2), persistent=False
        )  # (p, 2)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor, Tensor]:
        """images in [-1, 1]. Returns keys (b, p, k), values (b, p, v), summary (b, 32).

        dtype: of the convolutions; bfloat16 trains faster, later layers stay float32.
        """
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            x = self.stem(images)
        x = x.float()
        keys = self.key(x).flatten(2).transpose(1, 2)
        values = self.value(x).flatten(2).transpose(1, 2)
        return keys, values, F.silu(self.summary(F.adaptive_avg_pool2d(x, 4).flatten(1)))


def attend(
    logits: Float[Tensor, "b q p"], values: Float[Tensor, "b p v"], uv: Float[Tensor, "p 2"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax over patches: uv (b, q, 2), value (b, q, v), (b, q, 2) of max logit, sum p^2."""
    p = logits.softmax(-1)
    confidence = torch.stack((logits.amax(-1) / 10.0, p.square().sum(-1)), -1)
    return p @ uv, p @ values, confidence


def relative_bias(
    weights: Float[Tensor, "b q 5"], uv: Float[Tensor, "p 2"], centre: Float[Tensor, "b q 2"]
) -> Float[Tensor, "b q p"]:
    """Scores of patches by position from centre: right, below, distance, near, very near."""
    d = uv - centre[..., None, :]  # (b, q, p, 2)
    r2 = d.square().sum(-1)
    basis = (4 * d[..., 0], 4 * d[..., 1], 4 * (r2 + 1e-4).sqrt(), 16 * r2, torch.exp(-50 * r2))
    first, *others = (weights[..., i, None] * term for i, term in enumerate(basis))
    return sum(others, first)


def around(uv: Float[Tensor, "p 2"], place: Float[Tensor, "b q 2"]) -> Float[Tensor, "b q p"]:
    """For PointingTower.look: the target is at this place of the image, known from elsewhere (models/wide.py)."""
    away = (uv - place[..., None, :]).square().sum(-1)
    return -(away / (2 * NEAR**2)).clamp(max=FAR)


class PointingTower(nn.Module):
    def __init__(self, config: PointingConfig, vocab: int) -> None:
        super().__init__()
        self.config = config
        w, k, v = config.text_width, config.key_width, config.value_width
        self.embed = nn.Embedding(vocab, w)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.asks = nn.Parameter(nn.init.normal_(torch.empty(3, w), std=0.5))
        self.text = Gemma(GemmaConfig(w, config.text_depth, 2 * w, 4, 4, w // 4))
        self.front, self.wrist = Patches(config), Patches(config)
        self.queries = nn.Linear(w, k)
        self.bias = nn.Linear(w, 5)
        self.place = _mlp(2 + v + 2 + 32 + w, 128, 3)
        self.present = nn.Linear(w, 1)
        if config.wide is not None:
            self.wide = WidePointing(config.wide)
        self.wrist_query = nn.Linear(w + v, k)
        self.wrist_expect = _mlp(3 + 1, 64, 2)
        self.wrist_bias = nn.Linear(w + v + 3, 5)
        self.wrist_place = _mlp(2 + v + 2 + 3 + 4, 96, 4)
        self.colour, self.shape, self.size = (
            nn.Linear(v, COLOURS),
            nn.Linear(v, SHAPES),
            nn.Linear(v, 1),
        )
        for bias in (self.bias, self.wrist_bias):
            nn.init.zeros_(bias.weight)
            nn.init.zeros_(bias.bias)

    def forward(
        self,
        front: Float[Tensor, "b 3 h w"],
        wrist: Float[Tensor, "b 3 h w"],
        tool: Float[Tensor, "b 4"],
        text: Int[Tensor, "b q s"],
        dtype: torch.dtype = torch.float32,
    ) -> Pointing:
        """Answer q sentences about each of b images; n = b * q answers, sentence by sentence.

        tool: x y z in metres and gripper opening. text: token ids, 0 is padding. dtype: see Patches.
        """
        return self.look_closer(self.look(front, text, dtype), wrist, tool, dtype)

    def look(
        self,
        front: Float[Tensor, "b 3 h w"],
        text: Int[Tensor, "b q s"],
        dtype: torch.dtype = torch.float32,
        where: Float[Tensor, "#b #q p"] | None = None,
    ) -> Front:
        """The part of forward that is the same for all arms of a robot.

        where: added to the logits of the target's attention, what else is known of where it may be (around, or a second look).
        """
        ask = self._read(text)  # (b, q, 3, w)
        keys, values, summary = self.front(front, dtype)
        uv, scale = self.front.uv, keys.shape[-1] ** -0.5
        heat = torch.einsum("bqck,bpk->bqcp", self.queries(ask), keys) * scale
        reference = attend(heat[:, :, 1], values, uv)
        destination = attend(heat[:, :, 2], values, uv)
        target_heat = heat[:, :, 0] + relative_bias(self.bias(ask[:, :, 0]), uv, reference[0])
        if where is not None:
            target_heat = target_heat + where
        target = attend(target_heat, values, uv)
        heat = torch.stack((target_heat, heat[:, :, 1], heat[:, :, 2]), 2)
        place, value, confidence = (
            torch.stack(z, 2) for z in zip(target, reference, destination, strict=True)
        )
        context = summary[:, None, None].expand(-1, *ask.shape[1:3], -1)
        xyz = self.place(torch.cat((place, value, confidence, context, ask), -1)) * 0.3
        return Front(ask, xyz, value, confidence, heat, values)

    def look_closer(
        self,
        seen: Front,
        wrist: Float[Tensor, "b 3 h w"],
        tool: Float[Tensor, "b 4"],
        dtype: torch.dtype = torch.float32,
    ) -> Pointing:
        """The answers of one arm: those of the front image, and the target in its wrist image."""
        tool = tool[:, None].expand(-1, seen.ask.shape[1], -1)
        wrist_found = self._look_closer(
            self.wrist(wrist, dtype),
            tool,
            seen.ask[:, :, 0],
            seen.xyz[:, :, 0],
            seen.value[:, :, 0],
        )
        wrist_xyz, wrist_visible, wrist_confidence, wrist_value, wrist_heat = (
            z.flatten(0, 1) for z in wrist_found
        )
        return Pointing(
            found=PointedPlaces(
                xyz=seen.xyz.flatten(0, 1),
                present=self.present(seen.ask).squeeze(-1).flatten(0, 1),
                confidence=seen.confidence.flatten(0, 1),
                value=seen.value.flatten(0, 1),
                wrist_xyz=wrist_xyz,
                wrist_visible=wrist_visible,
                wrist_confidence=wrist_confidence,
                wrist_value=wrist_value,
            ),
            heat=seen.heat.flatten(0, 1),
            wrist_heat=wrist_heat,
            values=seen.values,
        )

    def _look_closer(
        self, patches: tuple[Tensor, ...], tool: Tensor, ask: Tensor, xyz: Tensor, value: Tensor
    ) -> tuple[Tensor, ...]:
        """Query the wrist image for the target, near the projection of the front answer.

        All but patches are (b, q, ...) of the target pointer. Returns the position relative to the
        tool, the logit of being in view, confidence, value and attention logits.
        """
        keys, values, _ = patches
        relative = (xyz - tool[..., :3]).detach()
        ask = torch.cat((ask, value), -1)
        expected = self.wrist_expect(torch.cat((relative / 0.1, tool[..., 3:]), -1)) * 0.3 + 0.5
        weights = self.wrist_bias(torch.cat((ask, relative / 0.1), -1))
        logits = torch.einsum("bqk,bpk->bqp", self.wrist_query(ask), keys) * keys.shape[-1] ** -0.5
        logits = logits + relative_bias(weights, self.wrist.uv, expected)
        uv, wrist_value, wrist_confidence = attend(logits, values, self.wrist.uv)
        height = tool[..., 2:3]
        distance = relative.norm(dim=-1, keepdim=True) / 0.1
        seen = (uv, wrist_value, wrist_confidence, relative / 0.1, tool[..., 3:], height / 0.1)
        answer = self.wrist_place(torch.cat((*seen, (height / 0.02).tanh(), distance), -1))
        return answer[..., :3] * 0.1, answer[..., 3:], wrist_confidence, wrist_value, logits

    def _read(self, text: Int[Tensor, "b q s"]) -> Float[Tensor, "b q 3 w"]:
        b, q, _ = text.shape
        text = text.flatten(0, 1)
        x = torch.cat((self.embed(text), self.asks.expand(b * q, -1, -1)), 1)
        valid = F.pad(text != 0, (0, 3), value=True)
        one_block = torch.zeros_like(valid)
        out, _ = self.text(x, positions_of(valid), block_mask(one_block, valid))
        asks: Tensor = out[:, -3:].unflatten(0, (b, q))
        return asks


def tokens(found: PointedPlaces, tool: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4 39"]:
    """Image tokens for the language model: objects and positions, from the tool, on three scales.

    tool: x y z in metres and gripper opening, one per sentence.
    """
    at = tool[:, None, :3]
    there = found.present.sigmoid()[..., None]  # (n, 3, 1)
    front = torch.cat(
        (_scales(found.xyz - at) * there, found.xyz / 0.3, there, found.confidence, found.value),
        -1,
    )
    seen = found.wrist_visible.sigmoid()
    near = torch.cat(
        (
            _scales(found.wrist_xyz) * seen,
            (found.wrist_xyz + tool[:, :3]) / 0.3 * seen,
            seen,
            found.wrist_confidence,
            found.wrist_value,
        ),
        -1,
    )
    return torch.cat((front, near[:, None]), 1)


def seen_from(
    found: PointedPlaces,
    tool: Float[Tensor, "n 4"],
    other: Float[Tensor, "n 4"],
    base: Float[Tensor, "n 3"] | None = None,
) -> PointedPlaces:
    """The same answers relative to another tool pose. tool, other: as in tokens.

    base: x, y and yaw of the base from which they, other included, are then measured; None: the
    base did not move.
    """
    if base is None:
        return replace(found, wrist_xyz=found.wrist_xyz + tool[:, :3] - other[:, :3])
    near = _from_base((found.wrist_xyz + tool[:, :3])[:, None], base)[:, 0]
    return replace(found, xyz=_from_base(found.xyz, base), wrist_xyz=near - other[:, :3])


def _from_base(xyz: Float[Tensor, "n k 3"], base: Float[Tensor, "n 3"]) -> Float[Tensor, "n k 3"]:
    x, y = (xyz[..., i] - base[:, i, None] for i in (0, 1))
    cos, sin = base[:, 2, None].cos(), base[:, 2, None].sin()
    return torch.stack((cos * x + sin * y, cos * y - sin * x, xyz[..., 2]), -1)


def _scales(x: Tensor) -> Tensor:
    """Metres to three ranges of unit size: 10 cm, 3 cm, 1 cm."""
    return torch.cat((x / 0.1, (x / 0.03).tanh(), (x / 0.01).tanh()), -1)


def _mlp(i: int, hidden: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(i, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, o)
    )
