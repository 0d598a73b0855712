"""Crops: what is cut from an image, what their keys name, and that they decide only between candidates that are alike."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vla_policy.models import config, crops, encoders
from vla_policy.models.efficientnet import EfficientNetLite0
from vla_policy.models.wide import CLOSER, EVIDENCE, WidePointing

SIZES = config.WideConfig(
    "efficientnet_lite0", "use_multilingual", 64, 16, 8, 12, known=5, crop_px=64
)
Closer = Callable[[torch.Tensor], torch.Tensor]


def test_a_crop_is_the_enlarged_image_around_its_place() -> None:
    v, u = np.mgrid[0:80, 0:80]
    image = np.stack((u, v, np.full_like(u, 7)), -1).astype(np.uint8)
    (crop,) = crops.cut(image, torch.tensor([[0.5, 0.25]]), 64, window=0.25)
    assert crop.shape == (64, 64, 3) and crop.dtype == np.uint8
    # 20 px of the image on 64 px, centred at (40, 20): its corner pixel is 10 px less half of a third of one
    assert np.abs(crop[0, 0].astype(int) - (30, 10, 7)).max() <= 1
    assert np.abs(crop[-1, -1].astype(int) - (49, 29, 7)).max() <= 1
    assert np.abs(crop[32, 32].astype(int) - (40, 20, 7)).max() <= 1


def test_beyond_the_border_is_as_at_the_border() -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    image[:, 0] = 200
    (crop,) = crops.cut(image, torch.tensor([[0.0, 0.5]]), 64)
    assert (crop[:, :20] == 200).all() and (crop[:, 50:] == 0).all()


def test_what_is_seen_of_a_crop_is_its_middle_at_three_strides() -> None:
    with torch.inference_mode():
        levels = EfficientNetLite0()(torch.zeros(2, 3, 128, 128))
    changed = tuple(level.clone() for level in levels)
    for level in changed:
        level[..., 0, :] += 1.0
        level[..., -1] += 1.0
    assert crops.pooled(levels).shape == (2, sum(crops.POOLED))
    assert crops.pooled(levels).equal(crops.pooled(changed))
    head = crops.CropKeys(8).eval()
    keys = head(crops.pooled(levels))
    assert torch.allclose(keys.norm(dim=-1), torch.ones(2))
    assert head.logits(keys, torch.eye(8)[:5]).shape == (2, 6)  # the last: none of them


def told(head: WidePointing, near: dict[int, torch.Tensor]) -> tuple[Closer, list[int]]:
    """A closer look that sees these keys at the patches, and how many crops each call asked for."""
    asked: list[int] = []

    def closer(uv: torch.Tensor) -> torch.Tensor:
        asked.append(uv[..., 0].numel())
        at = (uv[..., None, :] - head.grid).square().sum(-1).argmin(-1)
        keys = -torch.ones(*at.shape, SIZES.key_width)
        for patch, key in near.items():
            keys[at == patch] = key
        return F.normalize(keys, dim=-1)

    return closer, asked


def scene(first: float, second: float) -> tuple[WidePointing, torch.Tensor, torch.Tensor]:
    """A head, keys with the query's cosine at patches 9 and 54 and none elsewhere, and the sentence."""
    torch.manual_seed(0)
    head = WidePointing(SIZES).eval()
    with torch.no_grad():
        head.sharpness.fill_(3.0)
    text = torch.randn(1, 1, SIZES.text_width)
    query = head.queries(text)[0, 0]
    head.known.copy_(F.normalize(torch.randn(5, SIZES.key_width), dim=-1))
    head.known[0] = query
    keys = F.normalize(torch.randn(1, 64, SIZES.key_width), dim=-1)
    keys -= (keys @ query)[..., None] * query
    keys[0, 9], keys[0, 54] = first * query, second * query
    return head, keys, text


@pytest.mark.parametrize(("second", "decides"), [(0.75, True), (0.4, False)])
def test_crops_decide_between_candidates_that_are_nearly_as_likely(
    second: float, decides: bool
) -> None:
    head, keys, text = scene(0.8, second)
    query = head.queries(text)[0, 0]
    closer, asked = told(head, {54: query})
    with torch.inference_mode():
        seen = head.point(keys, text, closer=closer)
        assert torch.allclose(head.point(keys, text).uv[0, 0], head.grid[9], atol=0.05)
    assert torch.allclose(seen.uv[0, 0], head.grid[54 if decides else 9], atol=0.05)
    assert asked == ([2] if decides else [])  # only those that are alike are looked at


def test_the_crop_of_the_place_tells_whether_it_is_the_named_thing() -> None:
    head, keys, text = scene(0.8, 0.1)
    query, other = head.queries(text)[0, 0], head.known[3]
    with torch.inference_mode():
        good, bad = (
            head.evidence(keys, text, told(head, {9: key})[0])[0, 0] for key in (query, other)
        )
    assert good.shape == (len(EVIDENCE) + len(CLOSER),)
    assert torch.allclose(good[: len(EVIDENCE)], bad[: len(EVIDENCE)])  # the same place
    assert (good[len(EVIDENCE) :] > bad[len(EVIDENCE) :] + 0.2).all()
    head.sure[0, len(EVIDENCE)] = 1.0  # the cosine of the crop alone
    head.least.fill_(0.9)
    with torch.inference_mode():
        there, gone = (
            head.presence(keys, text, told(head, {9: key})[0]) for key in (query, other)
        )
    assert there.item() > 0 > gone.item()


def test_a_closer_look_and_a_head_for_it_belong_together() -> None:
    head, keys, text = scene(0.8, 0.1)
    with pytest.raises(ValueError, match="a head with crops expects a closer look"):
        head.evidence(keys, text)
    plain = WidePointing(replace(SIZES, crop_px=0)).eval()
    assert encoders.closer_look(plain.crops, np.zeros((8, 8, 3), np.uint8), 0) is None
    with pytest.raises(ValueError, match="any other none"):
        plain.evidence(keys, text, told(head, {})[0])
    with pytest.raises(ValueError, match="crop_px: got 8, expected 0 or 64 to 512"):
        replace(SIZES, crop_px=8)
