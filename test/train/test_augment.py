"""Each change of an image changes the pixels that it should, and leaves what it must leave."""

from dataclasses import replace

import numpy as np
import pytest
from training_sets import arm_set, contract_for

from vla_policy.families.training import Demonstration, Question
from vla_policy.train.augment import (
    Augmentation,
    augmented,
    augmenter,
    coloured,
    moved_image,
    moved_points,
    movement,
)
from vla_policy.train.mixture import Entry, Mixture
from vla_policy.train.questions import PointingQuestion
from vla_policy.train.training_set import open_training_set
from vla_policy.types import Observation

NONE = Augmentation(crop=1.0, rotate_deg=0.0, brightness=0.0, contrast=0.0, saturation=0.0)


def scene(seed=0, h=120, w=160):
    """A smooth coloured image with a bright spot."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    image = np.stack((60 + 60 * x / w, 90 + 40 * y / h, 120 - 50 * x / w), -1)
    cx, cy = rng.uniform(0.35, 0.65, 2) * (w, h)
    spot = np.exp(-((x + 0.5 - cx) ** 2 + (y + 0.5 - cy) ** 2) / 18.0)[..., None]
    return (image + 100 * spot).astype(np.uint8), np.array([cx, cy])


def demonstration(cameras=("front", "wrist", "left_hand_camera")):
    images = {c: scene(k)[0] for k, c in enumerate(cameras)}
    seen = Observation(images, np.zeros(1), ("gripper",), "push", 0)
    return Demonstration(seen, np.zeros((2, 1)), np.ones(2, bool))


def changed(augmentation, seed=0, sample=None):
    return augmented(augmentation, sample or demonstration(), np.random.default_rng(seed))


def test_nothing_changes_nothing():
    before, after = demonstration(), changed(NONE)
    for camera, image in before.observation.images.items():
        assert np.array_equal(after.observation.images[camera], image), camera


@pytest.mark.parametrize("field", ["crop", "rotate_deg"])
def test_geometry_moves_still_cameras_and_leaves_the_wrist_to_the_pixel(field):
    one = replace(NONE, **{field: getattr(Augmentation(), field)})
    before = demonstration().observation.images
    moved = 0
    for seed in range(8):
        after = changed(one, seed).observation.images
        moved += not np.array_equal(after["front"], before["front"])
        assert np.array_equal(after["wrist"], before["wrist"])
        assert np.array_equal(after["left_hand_camera"], before["left_hand_camera"])
    assert moved >= 7  # a turn by less than a pixel is none
    named = changed(replace(one, wrist=("front",)), 0).observation.images
    assert np.array_equal(named["front"], before["front"])
    assert not np.array_equal(named["wrist"], before["wrist"])


def test_a_crop_shows_a_part_of_the_image_and_a_turn_stays_within_its_angle():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        crop = movement(replace(NONE, crop=0.95), (100, 200, 3), rng)
        corners = moved_points(np.array([[0.0, 0.0], [200.0, 100.0]]), crop)
        # The whole is larger than the image by 1 / 0.95 and covers it.
        assert corners[1] - corners[0] == pytest.approx([200 / 0.95, 100 / 0.95])
        assert (corners[0] <= 1e-9).all() and (corners[1] >= (200 - 1e-9, 100 - 1e-9)).all()
        turn = movement(replace(NONE, rotate_deg=5.0), (100, 200, 3), rng)
        assert abs(np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))) <= 5.0
        assert moved_points(np.array([[100.0, 50.0]]), turn) == pytest.approx(
            np.array([[100.0, 50.0]])
        )


def test_no_corner_turns_black():
    white = np.full((90, 120, 3), 255, np.uint8)
    for seed in range(20):
        matrix = movement(Augmentation(), white.shape, np.random.default_rng(seed))
        assert moved_image(white, matrix).min() == 255


def test_colour_changes_every_camera_and_no_place():
    jitter = replace(Augmentation(), crop=1.0, rotate_deg=0.0)
    before, after = demonstration().observation.images, changed(jitter, 3).observation.images
    for camera in before:
        assert not np.array_equal(before[camera], after[camera])
        bright = [
            np.unravel_index(i.sum(-1, dtype=int).argmax(), i.shape[:2])
            for i in (before[camera], after[camera])
        ]
        assert np.abs(np.subtract(*bright)).max() <= 1


def test_brightness_contrast_and_saturation_change_what_they_say():
    image, _ = scene()
    grey = lambda i: i.astype(float) @ (0.299, 0.587, 0.114)  # noqa: E731
    for seed in range(20):
        rng = lambda: np.random.default_rng(seed)  # noqa: E731, B023
        bright = coloured(replace(NONE, brightness=0.3), image, rng())
        factor = grey(bright).mean() / grey(image).mean()
        assert (
            0.69 <= factor <= 1.31 and np.abs(bright - np.clip(image * factor, 0, 255)).max() < 4
        )
        contrast = coloured(replace(NONE, contrast=0.4), image, rng())
        assert grey(contrast).mean() == pytest.approx(grey(image).mean(), abs=1.0)
        assert 0.58 <= grey(contrast).std() / grey(image).std() <= 1.42
        vivid = coloured(replace(NONE, saturation=0.5), image, rng())
        assert np.abs(grey(vivid) - grey(image)).max() < 1.5
        spread = lambda i: np.ptp(i.astype(float), axis=-1).mean()  # noqa: E731
        assert 0.45 <= spread(vivid) / spread(image) <= 1.55


def test_a_point_goes_where_its_pixel_goes():
    for seed in range(25):
        image, spot = scene(seed)
        h, w = image.shape[:2]
        asked = PointingQuestion((image,), "Point to the spot.", (spot / (w, h))[None])
        after = augmented(
            replace(NONE, crop=0.9, rotate_deg=10.0), asked, np.random.default_rng(seed)
        )
        red = after.images[0][..., 0].astype(float)
        weight = np.clip(red - 130, 0, None)
        y, x = np.mgrid[:h, :w]
        seen = np.array([(weight * (x + 0.5)).sum(), (weight * (y + 0.5)).sum()]) / weight.sum()
        assert after.points[0] * (w, h) == pytest.approx(seen, abs=0.7), seed


def test_a_point_at_the_edge_keeps_its_image_in_place():
    image, _ = scene()
    asked = PointingQuestion((image,), "Point to the corner.", np.array([[0.0, 0.0], [1.0, 1.0]]))
    after = augmented(replace(NONE, crop=0.9, rotate_deg=5.0), asked, np.random.default_rng(1))
    assert np.array_equal(after.images[0], image) and np.array_equal(after.points, asked.points)


def test_a_question_about_left_and_right_keeps_its_geometry():
    image, _ = scene()
    geometry = Augmentation(brightness=0.0, contrast=0.0, saturation=0.0)
    asked = Question((image,), "What is on the left?", "a spot")
    assert np.array_equal(augmented(geometry, asked, np.random.default_rng(0)).images[0], image)
    both = augmented(Augmentation(), asked, np.random.default_rng(0))
    assert not np.array_equal(both.images[0], image) and both.answer == "a spot"


def test_it_is_the_same_for_the_same_sample_and_none_at_evaluation(tmp_path):
    data = open_training_set(arm_set(tmp_path / "set", (4,)), contract_for(), rows=2)
    trained = Mixture([Entry(data)], seed=1, augment=augmenter(Augmentation()))
    again = Mixture([Entry(data)], seed=1, augment=augmenter(Augmentation()))
    measured = Mixture([Entry(data)], seed=1)
    for p in range(6):
        one, same, plain = trained.sample(p), again.sample(p), measured.sample(p)
        for camera, image in one.value.observation.images.items():
            assert np.array_equal(image, same.value.observation.images[camera])
            assert not np.array_equal(image, plain.value.observation.images[camera])
        _, index = measured.chosen(p)
        assert np.array_equal(
            plain.value.observation.images["front"], data[index].observation.images["front"]
        )
        assert (one.seed, one.where) == (plain.seed, plain.where)
    assert (
        len({trained.sample(p).value.observation.images["front"].tobytes() for p in range(6)}) == 6
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [({"crop": 0.0}, "crop: got 0.0"), ({"rotate_deg": 90.0}, "rotate_deg: got 90.0"),
     ({"contrast": 1.0}, "contrast: got 1.0"), ({"saturation": float("nan")}, "saturation: got nan")],
)  # fmt: skip
def test_values_that_spoil_an_image_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Augmentation(**given)
