"""Points before a camera in its image, by hand and against the other way round."""

import numpy as np
import pytest

from vla_policy.embodiment import View
from vla_policy.embodiment.camera_projection import projected

ABOVE = View(
    (0.0, 0.0, 1.0), (0.0, 0.0, 0.0), 90.0, (1.0, 0.0, 0.0)
)  # half a height is 1 m on the ground


@pytest.mark.parametrize(
    ("xyz", "place"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0)),
        ((1.0, 0.0, 0.0), (0.0, -1.0)),  # what is up in it is forward
        ((0.0, 1.0, 0.0), (-1.0, 0.0)),
        ((0.5, 0.0, 0.5), (0.0, -1.0)),
    ],
)
def test_places_by_hand(xyz, place):
    assert projected(ABOVE, np.array([xyz]))[0] == pytest.approx(place, abs=1e-12)


def test_what_is_not_before_the_camera_has_no_place():
    assert np.isnan(projected(ABOVE, np.array([[0.0, 0.0, 1.0], [0.3, 0.0, 2.0]]))).all()


def test_a_point_far_along_the_ray_of_a_place_has_that_place():
    view = View((0.7, -0.2, 0.6), (0.3, 0.0, 0.0), 41.0)
    forward = np.subtract(view.target, view.position) / np.linalg.norm(
        np.subtract(view.target, view.position)
    )
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    half = np.tan(np.radians(41.0) / 2)
    rng = np.random.default_rng(0)
    places, depths = rng.uniform(-1.5, 1.5, (50, 2)), rng.uniform(0.1, 5.0, (50, 1))
    rays = forward + half * (places[:, :1] * right + places[:, 1:] * down)
    assert np.allclose(projected(view, view.position + depths * rays), places)
