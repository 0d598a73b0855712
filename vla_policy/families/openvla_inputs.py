"""OpenVLA's inputs and the meaning of its tokens: image, prompt, statistics; no weights.

Source: OpenVLA (arXiv:2406.09246); its processor, `predict_action` and evaluation code, with equal
results.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

from vla_policy.checkpoint.statistics import RangeNormalizer
from vla_policy.models.codec import EdgeBins
from vla_policy.models.text import TextTokenizer
from vla_policy.types import Array

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPACE = "▁"  # the single space, id 29871 of Llama's, before the action tokens in training
NOT_NORMALISED = (-1.0, 1.0)  # ends of a column that was not normalised, usually the gripper
CROP_AREA = 0.9  # of checkpoints trained with random crops


def prompt(instruction: str) -> str:
    """The prompt that OpenVLA was trained on."""
    return f"In: What action should the robot take to {instruction.lower()}?\nOut:"


def prompt_ids(tokenizer: TextTokenizer, instruction: str) -> list[int]:
    """Ids of the prompt, BOS first, the single space last.

    Raises ValueError if the tokenizer has neither: it is not Llama's.
    """
    space = tokenizer.token_id(SPACE)
    if tokenizer.bos is None or space is None:
        raise ValueError(
            f"{tokenizer.source}: got no <s> or no {SPACE!r}, expected Llama's tokenizer"
        )
    ids = [tokenizer.bos, *tokenizer.encode(prompt(instruction))]
    return ids if ids[-1] == space else [*ids, space]


def pixels(
    image: Array, side_px: int, mean: Sequence[float], std: Sequence[float], *, crop: bool
) -> Float[Tensor, "1 6 h w"]:
    """uint8[h, w, 3] to both towers' input; the aspect ratio is not kept, as in training.

    mean, std: six numbers each, DINOv2's then SigLIP's. crop: the middle 90 % of the area, scaled
    up again, for checkpoints that were trained with random crops.
    """
    resized = Image.fromarray(np.asarray(image)).resize(
        (side_px, side_px), Image.Resampling.BICUBIC
    )
    x = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float() / 255.0
    if crop:
        x = centre_crop(x)
    shift, scale = (torch.tensor(v).view(1, 6, 1, 1) for v in (mean, std))
    return (torch.cat((x, x), 1) - shift) / scale


def centre_crop(x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """The middle CROP_AREA of the area, scaled to the full size; values in [0, 1] on 256 levels.

    Bilinear between the centres of the corner pixels, as TensorFlow's crop_and_resize.
    """
    edge = math.sqrt(CROP_AREA)
    v, u = (torch.linspace(-edge, edge, n) for n in x.shape[2:])
    grid = torch.stack(torch.meshgrid(u, v, indexing="xy"), -1).expand(len(x), -1, -1, -1)
    y = F.grid_sample(x, grid, mode="bilinear", align_corners=True)
    return (y.clamp(0.0, 1.0) * 255.5).floor() / 255.0


def actions_of(ids: ArrayLike, action_vocab: int) -> Array:
    """int[..., d] vocabulary ids to float64[..., d] normalised actions.

    The highest id is bin 0. An id that is no action token becomes the nearest outermost bin.
    """
    return EdgeBins().decode(np.clip(action_vocab - 1 - np.asarray(ids), 0, 255))


def action_range(
    norm_stats: Mapping[str, Any], key: str | None, names: Sequence[str]
) -> RangeNormalizer:
    """The range to which decoded values -1 .. 1 are mapped, for columns names of the data set key.

    A dimension whose mask is false was not normalised: its range is -1 .. 1.
    key None takes the only data set. Raises ValueError, with the list of keys, if key is unknown
    or required, and for statistics that do not match names.
    """
    keys = ", ".join(sorted(norm_stats)) or "none"
    if key is None and len(norm_stats) != 1:
        raise ValueError(
            f"statistics (unnorm_key): got none, expected one of the data sets trained on: {keys}"
        )
    key = next(iter(norm_stats)) if key is None else key
    if key not in norm_stats:
        raise ValueError(f"statistics (unnorm_key): got {key!r}, expected one of: {keys}")
    action = norm_stats[key].get("action", {})
    if missing := [k for k in ("q01", "q99") if k not in action]:
        raise ValueError(f"norm_stats of {key!r}: action lacks {' and '.join(missing)}")
    mask = action.get("mask", [True] * len(action["q01"]))
    widths = {
        k: len(v) for k, v in (("q01", action["q01"]), ("q99", action["q99"]), ("mask", mask))
    }
    if set(widths.values()) != {len(names)}:
        raise ValueError(
            f"norm_stats of {key!r}: got widths {widths}, expected {len(names)} ({', '.join(names)})"
        )
    low, high = NOT_NORMALISED
    return RangeNormalizer(
        tuple(names), np.where(mask, action["q01"], low), np.where(mask, action["q99"], high)
    )


def trained_range(
    norm_stats: Mapping[str, Any], key: str | None, names: Sequence[str]
) -> RangeNormalizer:
    """Range of the data set's actions, normalised or not; arguments and errors as action_range."""
    action_range(norm_stats, key, names)
    action = norm_stats[next(iter(norm_stats)) if key is None else key]["action"]
    return RangeNormalizer(tuple(names), np.array(action["q01"]), np.array(action["q99"]))
