"""Second stage of models/naming.py: class of the object in the middle of a small crop, or background.

In an image of 96 px an object is 5 to 9 px wide. Its few pixels, at full resolution, show whether it is a cube, a cylinder
or a ball; a network that sees nothing else learns that from a fraction of the images.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

CROP_PX = 16  # side of a crop
PLACES = 6  # crops per image
APART = 1.5  # least distance of two crops, in sides of a location
BESIDE_PX = (-1, 0, 1)  # shifts of each crop, across and down; each is also mirrored
CHANNELS, WIDTH = (64, 96), 128
BLACK = -1.0  # padding outside the image


class Closer(nn.Module):
    """The classifier of crops; the last class of colour and of shape is background."""

    def __init__(self, colours: int, shapes: int) -> None:
        super().__init__()
        a, b = CHANNELS
        side = CROP_PX // 2 - 4
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, a, 3),
            nn.SiLU(),
            nn.Conv2d(a, b, 3),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(b * side**2, WIDTH),
            nn.SiLU(),
            nn.Dropout(0.1),
        )
        self.colour, self.shape = nn.Linear(WIDTH, colours + 1), nn.Linear(WIDTH, shapes + 1)

    def forward(self, crops: Float[Tensor, "n 3 p p"]) -> tuple[Tensor, Tensor]:
        """Logits of colour and of shape. crops: of CROP_PX, in [-1, 1]."""
        x = self.body(crops)
        return self.colour(x), self.shape(x)

    def look(
        self, images: Float[Tensor, "b 3 i j"], uv: Float[Tensor, "b p 2"]
    ) -> tuple[Float[Tensor, "b p k"], Float[Tensor, "b p s"]]:
        """Probabilities of colour and of shape at locations uv from 0 to 1.

        The mean over crops shifted by a pixel and mirrored: stable for a real object, not for a
        guess.
        """
        at = pixels(uv, images.shape[-1])
        beside = torch.tensor([(x, y) for y in BESIDE_PX for x in BESIDE_PX], device=at.device)
        some = crops(images, (at[:, :, None] + beside).flatten(1, 2))  # (b, p * 9, 3, c, c)
        each = self(torch.stack((some, some.flip(-1)), 2).flatten(0, 2))
        shown = (len(images), at.shape[1], 2 * len(beside))
        colour, shape = (x.softmax(-1).unflatten(0, shown).mean(2) for x in each)
        return colour, shape


def busiest(here: Float[Tensor, "b h w"]) -> Float[Tensor, "b p 2"]:
    """u, v from 0 to 1 of the PLACES highest locations: local centroids, kept apart."""
    side = here.shape[-1]
    centre = (torch.arange(side, device=here.device) + 0.5) / side
    v, u = torch.meshgrid(centre, centre, indexing="ij")
    uv = torch.stack((u, v), -1).reshape(-1, 2)  # (q, 2)
    here = here.flatten(1)
    left, found = here, []
    for _ in range(PLACES):
        near = _near(uv, uv[left.argmax(1)], side)
        weight = torch.where(near, here.square(), 0.0)
        middle = weight @ uv / weight.sum(1, keepdim=True).clamp(min=1e-12)
        left = left.masked_fill(near | _near(uv, middle, side), -1.0)
        found.append(middle)
    return torch.stack(found, 1)


def pixels(uv: Float[Tensor, "*n 2"], side_px: int) -> Int[Tensor, "*n 2"]:
    """The pixel, x and y, at u, v from 0 to 1; outside the image the nearest one."""
    return (uv * side_px).floor().long().clamp(0, side_px - 1)


def crops(
    images: Float[Tensor, "b 3 i j"], middles: Int[Tensor, "b p 2"], side_px: int = CROP_PX
) -> Float[Tensor, "b p 3 c c"]:
    """Squares of side_px around each of p pixels, black outside the image."""
    padded = F.pad(images, [side_px] * 4, value=BLACK)
    along = torch.arange(side_px, device=images.device) + side_px - side_px // 2
    x, y = (middles[..., i, None] + along for i in (0, 1))  # (b, p, c)
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    found = padded[which, :, y[..., :, None], x[..., None, :]]  # (b, p, c, c, 3)
    return found.movedim(-1, 2)


def _near(uv: Tensor, middle: Tensor, side: int) -> Tensor:
    """Which of q locations are close to middle, bool[b, q]."""
    distance: Tensor = torch.linalg.vector_norm(uv[None] - middle[:, None], dim=-1)
    return distance * side <= APART
