"""What stands at each place of an image: colour and shape, or nothing; from the pixels and the frozen features of the tower.

The pointing tower answers every sentence with a place, also one that names what is not there. This small head, trained
afterwards, tells whether anything in the picture is what the words say. Colour and shape are told apart from each other,
so that a pair is known by its parts. Where something stands is told from all of the picture; what it is by a second
look at those places (models/closer.py), in folders that have its weights.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vla_policy.models.closer import Closer
from vla_policy.models.pointing import COLOURS, SHAPES

STRIDE = 4  # pixels of a place, as of the tower's features


@dataclass(frozen=True, slots=True)
class NamingConfig:
    """channels: of the tower's features. closer: with a second look."""

    channels: int
    colours: int = COLOURS
    shapes: int = SHAPES
    width: int = 64
    closer: bool = True


class Naming(nn.Module):
    """The last class of each is that nothing stands there."""

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
        """Logits of colour and of shape at each place. images in [-1, 1]. features: of the tower's front stem."""
        x = self.body(torch.cat((F.pixel_unshuffle(images, STRIDE), features), 1))
        return self.colour(x), self.shape(x)

    def scores(
        self,
        images: Float[Tensor, "b 3 i j"],
        features: Float[Tensor, "b c h w"],
        named: tuple[tuple[int | None, int | None], ...],
    ) -> Float[Tensor, "b n"]:
        """How surely something in the picture is of each named (colour, shape), 0 to 1; None: of any."""
        colour, shape = (logits.softmax(1) for logits in self(images, features))
        if self.closer is None:
            colour, shape = (x.flatten(2).transpose(1, 2) for x in (colour, shape))
        else:
            colour, shape = self.closer.look(images, (1 - colour[:, -1]) * (1 - shape[:, -1]))
        found = []
        for c, s in named:
            here = 1 - colour[..., -1] if c is None else colour[..., c]
            here = here * (1 - shape[..., -1] if s is None else shape[..., s])
            found.append(here.amax(-1))
        return torch.stack(found, 1)
