"""Classifier of each location of an image, object's colour and shape or background, from pixels and frozen tower features.

The pointing tower answers every sentence with a location, also one that names an absent object. This small head, trained
afterwards, predicts whether any object in the image is the named one. Colour and shape are separate outputs, so that an
unseen pair is known by its parts. Where an object is comes from the whole image; its class from a second stage on small
crops there (models/closer.py), in folders that have its weights.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.closer import Closer, busiest
from vla_policy.models.pointing import COLOURS, SHAPES

STRIDE = 4  # pixels of a location, as of the tower's features


@dataclass(frozen=True, slots=True)
class NamingConfig:
    """channels: of the tower's features. closer: with the second stage."""

    channels: int
    colours: int = COLOURS
    shapes: int = SHAPES
    width: int = 64
    closer: bool = True


@dataclass(frozen=True, slots=True)
class Places:
    """Probabilities of colour and of shape at locations uv, 0 to 1 of the image; the last class is background."""

    uv: Float[Tensor, "b p 2"]
    colour: Float[Tensor, "b p k"]
    shape: Float[Tensor, "b p s"]

    def named(self, colour: int | None, shape: int | None) -> Float[Tensor, "b p"]:
        """Probability of that colour and shape at each location; None: any."""
        here = 1 - self.colour[..., -1] if colour is None else self.colour[..., colour]
        return here * (1 - self.shape[..., -1] if shape is None else self.shape[..., shape])


class Naming(nn.Module):
    """The classifier; the last class of each output is background."""

    def __init__(self, config: NamingConfig) -> None:
        super().__init__()
        self.config = config
        c, w = config.channels + 3 * STRIDE**2, config.width
        self.body = nn.Sequential(
            nn.Conv2d(c, w, 3, padding=1), nn.SiLU(), nn.Conv2d(w, w, 3, padding=1), nn.SiLU()
        )
        self.colour = nn.Conv2d(w, config.colours + 1, 1)
        self.shape = nn.Conv2d(w, config.shapes + 1, 1)
        self.closer = Closer(config.colours, config.shapes) if config.closer else None

    def forward(
        self, images: Float[Tensor, "b 3 i j"], features: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b s h w"]]:
        """Logits of colour and of shape at each location. images in [-1, 1]. features: of the tower's front stem."""
        x = self.body(torch.cat((F.pixel_unshuffle(images, STRIDE), features), 1))
        return self.colour(x), self.shape(x)

    def places(
        self, images: Float[Tensor, "b 3 i j"], features: Float[Tensor, "b c h w"]
    ) -> Places:
        """Probabilities at the locations of the second stage; without one, at all locations."""
        colour, shape = (logits.softmax(1) for logits in self(images, features))
        if self.closer is not None:
            uv = busiest((1 - colour[:, -1]) * (1 - shape[:, -1]))
            return Places(uv, *self.closer.look(images, uv))
        height, width = colour.shape[-2:]
        v, u = ((torch.arange(n, device=images.device) + 0.5) / n for n in (height, width))
        uv = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1).flatten(0, 1)
        flat = (x.flatten(2).transpose(1, 2) for x in (colour, shape))
        return Places(uv.expand(len(images), -1, -1), *flat)

    def scores(
        self,
        images: Float[Tensor, "b 3 i j"],
        features: Float[Tensor, "b c h w"],
        named: tuple[tuple[int | None, int | None], ...],
    ) -> Float[Tensor, "b n"]:
        """Probability that some object in the image has each named (colour, shape); None: any."""
        places = self.places(images, features)
        return torch.stack([places.named(c, s).amax(-1) for c, s in named], 1)
