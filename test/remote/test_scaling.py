"""Images that a robot makes as small as the policy does: what the network is shown differs by the rounding alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pi0_folders import KINDS, copied, policy_file
from pi0_folders import observation as golden_observation
from serving import CONTRACT, OFFER, Played, Running, observation

from vla_policy.families.pi0 import letterbox
from vla_policy.models.fitting import Scaling, scaled_down
from vla_policy.policy import load_policy

LEVEL = 2.0 / 255.0  # of what the network is shown, -1 to 1
SIZES = ((480, 640), (720, 1280), (640, 480), (300, 301), (225, 224), (224, 224), (100, 200))


def shown(image, scaling, bars=-1.0):
    picture = torch.tensor(image).permute(2, 0, 1).float() / 255
    side, antialias = scaling.side_px, scaling.antialias
    return letterbox(picture, side, antialias=antialias, bars=bars).numpy()


@pytest.mark.parametrize(("antialias", "levels"), [(False, 0.55), (True, 1.05)])
@pytest.mark.parametrize("size", SIZES)
def test_the_network_is_shown_the_same_but_for_the_rounding(size, antialias, levels):
    rng = np.random.default_rng(sum(size))
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    scaling = Scaling(224, antialias)
    small = scaled_down(image, scaling)
    # 225 / (225 / 224) is below 224: the policy makes that 223, and would scale what has 223 again.
    larger = max(size) > 224 and size != (225, 224)
    assert (small is not image) == larger and (not larger or max(small.shape[:2]) == 224)
    for bars in (-1.0, -3.0):
        whole, sent = shown(image, scaling, bars), shown(small, scaling, bars)
        apart = np.abs(whole - sent)
        assert apart.max() <= levels * LEVEL * larger + 1e-6
        assert abs(float((whole - sent).mean())) < 0.05 * LEVEL  # no brighter and no darker
        if bars < -1:  # no picture is as dark
            np.testing.assert_array_equal(whole == bars, sent == bars)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chunk_for_small_images_is_nearly_that_for_whole_ones(tmp_path, kind):
    policy = load_policy(str(policy_file(tmp_path, copied(tmp_path, kind))))
    rng, side = np.random.default_rng(1), policy.contract.image_px
    images = {n: rng.integers(0, 256, (2 * side, 3 * side, 3), dtype=np.uint8)
              for n in policy.contract.camera_names}  # fmt: skip
    whole = golden_observation(images=images)
    small = replace(whole, images={n: scaled_down(i, policy.scaling) for n, i in images.items()})
    assert all(max(i.shape[:2]) == side for i in small.images.values())
    others = {n: np.roll(i, side // 2, axis=1) for n, i in images.items()}
    want, got, other = (policy.infer(o, seed=2).model_actions
                        for o in (whole, small, replace(whole, images=others)))  # fmt: skip
    assert 0 < np.abs(got - want).max() < 0.1 * np.abs(other - want).max()


def test_a_robot_that_asks_for_it_sends_small_images():
    rng, got = np.random.default_rng(3), []
    images = {n: rng.integers(0, 255, (60, 80, 3), dtype=np.uint8) for n in CONTRACT.camera_names}
    seen = replace(observation(), images=images)

    class Looks(Played):
        def infer_chunk(self, observation, previous, options):
            got.append(observation.images)
            return super().infer_chunk(observation, previous, options)

    scaling = Scaling(32, antialias=False)
    with Running(Looks(), offer=replace(OFFER, scaling=scaling)) as running:
        for end in ("", "?scaled=1"):
            there = load_policy(running.address + end)
            there.infer(seen)
            there.close()
    for name, image in images.items():
        np.testing.assert_array_equal(got[0][name], image)
        np.testing.assert_array_equal(got[1][name], scaled_down(image, scaling))
    with Running() as running, pytest.raises(ValueError, match="send them whole"):
        load_policy(running.address + "?scaled=1")
