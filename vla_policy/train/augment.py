"""Random changes of images in training, so that a policy does not overfit camera mounts and light.

For fixed cameras: a crop scaled back to the full size and slightly rotated, in one step; pixels
outside the image repeat its edge, so that no black corner reveals it. For wrist cameras the
geometry shows the gripper's position, so it is kept. For all cameras: brightness, contrast and
saturation. Points in the image are transformed with it.

Values as in openpi (crop 95 %, 5 degrees, 0.3, 0.4, 0.5); differs in: one interpolation, not
three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from vla_policy.families.training import Demonstration, Labelled
from vla_policy.train.mixture import Augment, Raw
from vla_policy.train.questions import PointingQuestion
from vla_policy.types import Array

WRIST = ("wrist", "hand")  # in the name of a camera that moves with a tool
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Augmentation:
    """crop: side of the crop as a share of the image's. rotate_deg: largest rotation either way.

    brightness, contrast, saturation: largest change of the factor, which is 1 for none. wrist:
    cameras that keep their geometry; None: those with `wrist` or `hand` in their name.
    Raises ValueError that begins with the field's name.
    """

    crop: float = 0.95
    rotate_deg: float = 5.0
    brightness: float = 0.3
    contrast: float = 0.4
    saturation: float = 0.5
    wrist: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not 0.1 <= self.crop <= 1.0:
            raise ValueError(f"crop: got {self.crop}, expected a share from 0.1 to 1")
        if not 0.0 <= self.rotate_deg <= 45.0:
            raise ValueError(f"rotate_deg: got {self.rotate_deg}, expected 0 to 45")
        for name in ("brightness", "contrast", "saturation"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 to below 1")

    def keeps_geometry(self, camera: str) -> bool:
        """Whether it is a wrist camera."""
        if self.wrist is not None:
            return camera in self.wrist
        return any(word in camera.lower() for word in WRIST)


def augmenter(augmentation: Augmentation) -> Augment:
    """The function for a mixture; it can be pickled to worker processes."""
    return partial(augmented, augmentation)


def augmented(augmentation: Augmentation, sample: Raw, rng: np.random.Generator) -> Raw:
    """sample with its images changed by rng; cameras are changed one after the other, in order.

    For questions only the first image of a pointing question is transformed, if every point stays
    inside: text may name left and right, and a caption describes the whole image.
    """
    if isinstance(sample, Labelled):  # lessons change their own images
        return sample
    if isinstance(sample, Demonstration):
        observation = sample.observation
        images = {}
        for camera, image in observation.images.items():
            moved = image
            if not augmentation.keeps_geometry(camera):
                moved = moved_image(image, movement(augmentation, image.shape, rng))
            images[camera] = coloured(augmentation, moved, rng)
        return replace(sample, observation=replace(observation, images=images))
    first, *others = sample.images
    if isinstance(sample, PointingQuestion):
        h, w = first.shape[:2]
        matrix = movement(augmentation, first.shape, rng)
        points = moved_points(sample.points * (w, h), matrix) / (w, h)
        if ((points >= 0.0) & (points <= 1.0)).all():
            first, sample = moved_image(first, matrix), replace(sample, points=points)
    changed = tuple(coloured(augmentation, image, rng) for image in (first, *others))
    return replace(sample, images=changed)


def movement(
    augmentation: Augmentation, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """float64[2, 3]: maps pixels x, y of the image, from its upper left corner."""
    h, w = shape[:2]
    angle = np.deg2rad(rng.uniform(-1.0, 1.0) * augmentation.rotate_deg)
    left, top = (rng.uniform(0.0, 1.0 - augmentation.crop) * side for side in (w, h))
    # The middle of the crop maps to the middle of the image, scaled by 1 / crop and rotated.
    middle = np.array([left + augmentation.crop * w / 2, top + augmentation.crop * h / 2])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn / augmentation.crop
    shift = np.array([w / 2, h / 2]) - linear @ middle
    return np.column_stack((linear, shift))


def moved_image(image: Array, matrix: Array) -> Array:
    """uint8[h, w, 3] transformed by movement's matrix."""
    # cv2 counts from the centres of pixels.
    half = np.array([0.5, 0.5])
    shift = matrix[:, 2] + matrix[:, :2] @ half - half
    h, w = image.shape[:2]
    moved: Array = cv2.warpAffine(
        np.asarray(image),
        np.column_stack((matrix[:, :2], shift)),
        (w, h),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved


def moved_points(points: Array, matrix: Array) -> Array:
    """float64[k, 2] pixels x, y, transformed like the image."""
    moved: Array = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def coloured(augmentation: Augmentation, image: Array, rng: np.random.Generator) -> Array:
    """uint8[h, w, 3] with changed brightness, contrast about its mean, and saturation."""
    sides = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
    brightness, contrast, saturation = (1.0 + rng.uniform(-1.0, 1.0) * side for side in sides)
    x = image.astype(np.float32) * np.float32(brightness)
    mean = np.float32((x @ GREY).mean())
    x = (x - mean) * np.float32(contrast) + mean
    grey = (x @ GREY)[..., None]
    x = (x - grey) * np.float32(saturation) + grey
    out: Array = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    return out
