"""The second look: where it looks, what it cuts out, and that a thing is of one place."""

import numpy as np
import pytest
import torch

from vla_policy.models.closer import BLACK, CROP_PX, PLACES, Closer, busiest, crops, pixels
from vla_policy.models.naming import Naming, NamingConfig


def blobs(*middles: tuple[int, int]) -> torch.Tensor:
    """Ones at places (row, column) of 24 by 24 and a little around, float32[1, 24, 24]."""
    here = torch.zeros(1, 24, 24)
    for row, column in middles:
        here[0, row - 1 : row + 2, column - 1 : column + 2] = 0.5
        here[0, row, column] = 1.0
    return here


def test_it_looks_at_the_middle_of_each_thing_and_once():
    uv = busiest(blobs((5, 7), (5, 11), (18, 3)))[0]
    assert uv.shape == (PLACES, 2)
    expected = np.array([[7, 5], [11, 5], [3, 18]]) + 0.5
    found = uv[:3].numpy() * 24
    for place in expected:
        assert np.linalg.norm(found - place, axis=1).min() < 0.2
    apart = (uv[:3, None] - uv[None, :3]).norm(dim=-1) * 24 + 9 * torch.eye(3)
    assert apart.min() > 3.5


def test_an_empty_picture_has_places_too():
    assert torch.isfinite(busiest(torch.zeros(2, 24, 24))).all()


def test_crops_are_around_their_pixel_and_black_beyond_the_picture():
    images = torch.rand(2, 3, 32, 32)
    cut = crops(images, torch.tensor([[[16, 9]], [[0, 31]]]))
    half = CROP_PX // 2
    assert torch.equal(
        cut[0, 0], images[0, :, 9 - half : 9 + half, 16 - half : 16 + half][:, :, :]
    )
    inside = cut[1, 0, :, : half + 1, half:]
    assert torch.equal(inside, images[1, :, 31 - half :, :half])
    assert (cut[1, 0, :, half + 1 :] == BLACK).all()
    assert (cut[1, 0, :, :, :half] == BLACK).all()


@pytest.mark.parametrize(
    ("uv", "expected"), [((0.0, 0.999), (0, 95)), ((1.2, -0.3), (95, 0)), ((0.5, 0.25), (48, 24))]
)
def test_a_place_outside_is_the_nearest_pixel(uv, expected):
    assert tuple(pixels(torch.tensor(uv), 96).tolist()) == expected


def test_a_place_is_looked_at_from_beside_it_too_and_the_mean_is_told():
    """A closer that sees a ball only where the crop is not shifted is not sure of it; one that always does is."""

    class Picky(Closer):
        def forward(self, some):
            bright = some[:, 0, CROP_PX // 2, CROP_PX // 2] > 0.5
            shape = torch.zeros(len(some), 4)
            shape[:, 2] = torch.where(bright, 100.0, -100.0)
            return torch.zeros(len(some), 7), shape

    images = torch.full((1, 3, 96, 96), -1.0)
    uv = torch.tensor([[[42.5 / 96, 42.5 / 96]]])
    # crops are mirrored about a line between two pixels, so each of two pixels is the middle of one of them
    images[:, :, 42, 41:43] = 1.0
    alone = Picky(6, 3).look(images, uv)[1][0, 0, 2].item()
    images[:, :, 40:45, 39:45] = 1.0
    sure = Picky(6, 3).look(images, uv)[1][0, 0, 2].item()
    assert sure == pytest.approx(1.0)
    assert 0.0 < alone < 0.5


def test_colour_and_shape_of_a_pair_are_of_one_place():
    """A red cube beside a blue ball is no red ball."""

    class TwoThings(Closer):
        def look(self, images, uv):
            colour, shape = torch.zeros(1, PLACES, 7), torch.zeros(1, PLACES, 4)
            colour[0, 0, 0] = colour[0, 1, 2] = 1.0  # red, blue
            shape[0, 0, 0] = shape[0, 1, 2] = 1.0  # cube, ball
            return colour, shape

    naming = Naming(NamingConfig(channels=8))
    naming.closer = TwoThings(6, 3)
    asked = ((0, 0), (2, 2), (0, 2), (0, None), (None, 2), (1, None), (None, 1))
    scores = naming.scores(torch.zeros(1, 3, 96, 96), torch.zeros(1, 8, 24, 24), asked)
    assert scores.tolist() == [[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]]
