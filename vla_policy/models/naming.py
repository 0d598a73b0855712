"""What stands at each place of an image: colour and shape, or nothing, from the frozen features of the pointing tower.

The tower answers every sentence with a place, also one that names what is not there. This small head, trained afterwards,
tells whether anything in the picture is what the words say. Colour and shape are told apart from each other, so a
pair that was never seen together is known by its parts.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .pointing import COLOURS, SHAPES


@dataclass(frozen=True, slots=True)
class NamingConfig:
    """channels: of the tower's features. least: score below which a thing is not there."""

    channels: int
    least: float
    colours: int = COLOURS
    shapes: int = SHAPES
    width: int = 64


class Naming(nn.Module):
    """The last class of each is that nothing stands there."""

    def __init__(self, config: NamingConfig) -> None:
        super().__init__()
        self.config = config
        c, w = config.channels, config.width
        self.body = nn.Sequential(
            nn.Conv2d(c, w, 3, padding=1), nn.SiLU(), nn.Conv2d(w, w, 3, padding=1), nn.SiLU()
        )
        self.colour = nn.Conv2d(w, config.colours + 1, 1)
        self.shape = nn.Conv2d(w, config.shapes + 1, 1)

    def forward(
        self, features: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b k h w"], Float[Tensor, "b s h w"]]:
        """Logits of colour and of shape at each place."""
        x = self.body(features)
        return self.colour(x), self.shape(x)

    def scores(
        self, features: Float[Tensor, "b c h w"], named: tuple[tuple[int | None, int | None], ...]
    ) -> Float[Tensor, "b n"]:
        """How surely something in the picture is of each named (colour, shape), 0 to 1; None: of any."""
        colour, shape = (logits.softmax(1) for logits in self(features))
        found = []
        for c, s in named:
            here = 1 - colour[:, -1] if c is None else colour[:, c]
            here = here * (1 - shape[:, -1] if s is None else shape[:, s])
            found.append(here.flatten(1).amax(-1))
        return torch.stack(found, 1)
