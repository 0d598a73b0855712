"""Images of episodes as JPEG, small enough in total for a limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vla_policy.data.lerobot.reader import DataSet
from vla_policy.parsing.files import MIB
from vla_policy.runtime.images import encode_jpeg
from vla_policy.types import Array

# (largest width px, JPEG quality): the first with which everything fits is used.
SIZES = ((1280, 90), (640, 85), (640, 70), (480, 65), (320, 60), (240, 55), (160, 50))
SAMPLES = 6  # images per camera whose size is measured
BASE64 = 4 / 3
MOST_EVERY = 30


@dataclass(frozen=True, slots=True)
class ImageSize:
    """width_px: at most. every: interval of the embedded images, starting with the first."""

    width_px: int
    quality: int
    every: int


def choose_size(data: DataSet, episodes: Sequence[int], limit_mib: float) -> ImageSize:
    """The largest images with which all frames fit; if even the smallest do not, only some frames.

    Raises ValueError if not even these fit.
    """
    limit = limit_mib * MIB / BASE64
    total = sum(data.entries[e].length for e in episodes) * len(data.cameras)
    samples = list(_samples(data, episodes))
    if not total or not samples:
        return ImageSize(*SIZES[0], 1)
    for width, quality in SIZES:
        bytes_each = np.mean([len(to_jpeg(i, width, quality)) for i in samples])
        if total * bytes_each <= limit:
            return ImageSize(width, quality, 1)
    every = int(np.ceil(total * bytes_each / limit))
    if every > MOST_EVERY:
        raise ValueError(
            f"{total} images do not fit into {limit_mib:g} MiB; show fewer episodes (--episodes), or raise --megabytes"
        )
    return ImageSize(*SIZES[-1], every)


def _samples(data: DataSet, episodes: Sequence[int]) -> Iterator[Array]:
    for camera in data.cameras:
        for place in np.linspace(0, len(episodes) - 1, SAMPLES).round().astype(int).tolist():
            episode = episodes[place]
            try:
                yield data.image(episode, data.entries[episode].length // 2, camera)
            except (ValueError, FileNotFoundError):
                continue  # reported where it is shown


def to_jpeg(image: Array, width_px: int, quality: int) -> bytes:
    """A JPEG of uint8[h, w, 3], reduced if it is wider."""
    height, width = image.shape[:2]
    if width > width_px:
        size = (width_px, max(1, round(height * width_px / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    return encode_jpeg(image, quality=quality)
