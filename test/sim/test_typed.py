"""A scene for what was typed."""

import pytest

from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.tasks.typed import find_scene, parse_task


@pytest.mark.parametrize(
    ("instruction", "split"),
    [
        ("put the red cube in the tray", "train"),
        ("lift up the smallest object", "train"),
        ("pick up the blue cube", "unseen_pairs"),
        ("push the red ball to the pad", "unseen_pairs"),
    ],
)
def test_the_scene_has_what_is_named(instruction, split):
    seed, found = find_scene(instruction, 2_000_000)
    assert found == split and seed >= 2_000_000
    assert parse_task(instruction, sample_scene(seed, split=split)).target in (0, 1, 2)


@pytest.mark.parametrize("instruction", ["flurble the cube", "pick up the teapot", ""])
def test_nonsense_is_a_sentence(instruction):
    with pytest.raises(ValueError, match=r"there is|say"):
        find_scene(instruction)
