"""Crops of training: what is drawn, what robot scenes give, and that the head learns to name them without new queries."""

from unittest.mock import create_autospec, patch

import numpy as np
import pytest
import torch

from vla_policy.data.web.concepts import Concept
from vla_policy.data.web.pictures import STYLES, WebPictures
from vla_policy.models import config, encoders
from vla_policy.models.crops import POOLED
from vla_policy.models.wide import WidePointing
from vla_policy.train.meaning import crops
from vla_policy.train.meaning.learn import TEXTS, EncodedTexts
from vla_policy.train.meaning.pictures import ThingPictures

NAMES, WIDTH = ("kiwi", "bulb", "hidden"), 12
SIZES = config.WideConfig("efficientnet_lite0", "use_multilingual", 64, 16, 8, WIDTH, 2, 64)


def pictures() -> WebPictures:
    roles = ("web", "robot", "nowhere")
    things = tuple(
        Concept(n, {"en": n}, "food-fruit", r) for n, r in zip(NAMES, roles, strict=True)
    )
    drawn = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 4), dtype=np.uint8)
    return WebPictures(things, dict.fromkeys(STYLES, drawn))


def blind(images: np.ndarray) -> tuple[torch.Tensor, ...]:
    """Features whose only content is the mean colour."""
    mean = torch.from_numpy(images.mean((1, 2, 3))).float()[:, None, None, None]
    return tuple(
        mean.expand(-1, c, s, s).clone() for c, s in zip((40, 112, 320), (8, 4, 2), strict=True)
    )


@pytest.fixture(autouse=True)
def trunk() -> object:
    seen = create_autospec(encoders.features, side_effect=blind)
    with patch.object(encoders, "features", seen):
        yield seen


def test_what_no_training_shows_is_on_no_crop() -> None:
    numbers = {"kiwi": 0, "bulb": 1}
    made = crops.web_crops(pictures(), numbers, each=5, px=64, seed=0)
    counts = {n: int((made.number == n).sum()) for n in (-1, 0, 1)}
    assert counts == {-1: 2, 0: 10, 1: 10}  # two styles
    assert made.pooled.shape == (22, sum(POOLED))
    again = crops.web_crops(pictures(), numbers, each=5, px=64, seed=0)
    assert made.pooled.equal(again.pooled)


def test_robot_scenes_give_each_known_object_and_a_place_without_one() -> None:
    image = np.zeros((1, 224, 224, 3), np.uint8)
    uv = np.full((1, 6, 2), np.nan, np.float32)
    uv[0, :3] = (0.3, 0.3), (0.7, 0.3), (0.5, 0.7)
    names = [["bulb", "white cube", "kiwi", "", "", ""]]
    scenes = ThingPictures(image, uv, names)
    made = crops.robot_crops(scenes, {"kiwi": 0, "bulb": 1}, px=64, seed=0)
    assert sorted(made.number.tolist()) == [-1, 0, 0, 1, 1]


def two_texts() -> EncodedTexts:
    vectors = torch.randn(2, 1, WIDTH).expand(-1, TEXTS, -1)
    numbers = {"kiwi": 0, "bulb": 1}
    return EncodedTexts(vectors, torch.zeros(2, TEXTS), torch.zeros(1, WIDTH), numbers)


def test_it_learns_to_name_crops_by_the_queries_that_it_has() -> None:
    torch.manual_seed(0)
    head, texts = WidePointing(SIZES), two_texts()
    before = {k: v.clone() for k, v in head.state_dict().items() if not k.startswith("crops.")}
    number = torch.arange(90) % 3 - 1
    pooled = torch.randn(90, sum(POOLED)) + 3.0 * torch.randn(3, sum(POOLED))[number + 1]
    seen = crops.Cropped(pooled.half(), number)
    losses = crops.train(head, seen, seen, texts, steps=15, seed=0)
    assert losses[-1] < 0.8 * losses[0]
    after = head.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())
    with torch.inference_mode():
        logits = head.crops.logits(head.crops(pooled), head.queries(texts.vectors[:, 0]))
    assert (logits.argmax(-1) == torch.where(number < 0, 2, number)).float().mean() > 0.9


def test_what_robot_scenes_never_show_is_not_taken_for_what_they_do() -> None:
    torch.manual_seed(0)
    head, texts = WidePointing(SIZES), two_texts()
    thing, table = 2.0 * torch.randn(2, sum(POOLED)), 2.0 * torch.randn(sum(POOLED))
    number = torch.arange(80) % 2
    noise = torch.randn(80, sum(POOLED))
    web = crops.Cropped((thing[number] + noise).half(), number)
    only_bulbs = crops.Cropped((thing[1] + table + noise).half(), torch.ones_like(number))
    none = crops.Cropped((3.0 * noise).half(), -torch.ones_like(number))
    crops.train(head, join(web, none), only_bulbs, texts, steps=40, seed=0)
    with torch.inference_mode():
        logits = head.crops.logits(
            head.crops(thing[0] + table + noise), head.queries(texts.vectors[:, 0])
        )
    assert (logits.argmax(-1) == 0).float().mean() > 0.8


def join(one: crops.Cropped, other: crops.Cropped) -> crops.Cropped:
    return crops.Cropped(
        torch.cat((one.pooled, other.pooled)), torch.cat((one.number, other.number))
    )
