"""Boxes with pictures: drawn alike by both renderers, upright to the front camera, grasped and judged like any object."""

import numpy as np
import pytest

from vla_policy.sim.demonstrations.expert import expert_action
from vla_policy.sim.demonstrations.row_player import Driver
from vla_policy.sim.scenes.cards import card_scene, make_card, named_task
from vla_policy.sim.scenes.scene import CARD_PX, Card, sample_scene
from vla_policy.sim.tasks.judge import Judge
from vla_policy.sim.world.world import World


def card(name: str, *, top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Card:
    picture = np.empty((CARD_PX, CARD_PX, 3), np.uint8)
    picture[: CARD_PX // 2], picture[CARD_PX // 2 :] = top, bottom
    return make_card(name, picture)


FLAG = card("flag", top=(250, 0, 0), bottom=(0, 0, 250))
LEAF = card("leaf", top=(0, 250, 0), bottom=(0, 250, 0))


def test_a_scene_of_cards_is_repeatable_and_names_its_objects_by_them() -> None:
    scene = card_scene(3, [FLAG, LEAF])
    assert scene == card_scene(3, [FLAG, LEAF])
    assert [o.name for o in scene.objects[:2]] == ["flag", "leaf"]
    assert scene.objects[2].name == sample_scene(3).objects[2].name
    with pytest.raises(ValueError, match="got 4, expected 1 to 3"):
        card_scene(3, [FLAG] * 4)
    with pytest.raises(ValueError, match=r"card 'flag': got uint8\[2, 2, 3\]"):
        make_card("flag", np.zeros((2, 2, 3), np.uint8))


def test_boxes_do_not_overlap() -> None:
    for seed in range(40):
        scene = card_scene(seed, [FLAG, LEAF, FLAG])
        xy = np.array([o.xy for o in scene.objects])
        for i in range(3):
            gap = np.abs(xy[(i + 1) % 3] - xy[i])
            assert (gap > [0.068, 0.054]).any()


def test_both_renderers_show_the_picture_upright() -> None:
    scene = card_scene(3, [FLAG, LEAF])
    for renderer in ("auto", "raycast"):
        world = World(renderer=renderer)
        world.render("front")  # so that the pictures have to be shown anew
        world.reset(scene)
        image = world.render("front", 224, 224).astype(int)
        u, v = world.project("front", world.truth().object_xyz)[0]
        rows, columns = np.mgrid[:224, :224]
        near = np.hypot(rows - v * 224, columns - u * 224) < 20
        red = near & (image[..., 0] > 100) & (image[..., 1:].max(-1) < 60)
        blue = near & (image[..., 2] > 100) & (image[..., :2].max(-1) < 60)
        assert red.sum() > 30 and blue.sum() > 30
        assert rows[red].mean() < rows[blue].mean() - 4
        world.close()


def test_a_plain_scene_after_one_of_cards_looks_as_before() -> None:
    world = World(renderer="auto")
    world.reset(sample_scene(5))
    before = world.render("front")
    world.reset(card_scene(3, [FLAG, LEAF, FLAG]))
    world.render("front")
    world.reset(sample_scene(5))
    assert np.array_equal(world.render("front"), before)
    world.close()


def test_the_expert_puts_a_box_into_the_tray_and_physics_says_so() -> None:
    world = World(renderer="raycast")
    scene = card_scene(3, [FLAG, LEAF, FLAG])
    task = named_task(scene, 1, "put the leaf in the tray", "tray")
    world.reset(scene)
    driver = Driver(world, Judge(task, world.truth()))
    for _ in range(120):
        driver.pursue(expert_action(task, world.truth()))
        if driver.result.success:
            break
    assert driver.result.success
    assert driver.result.detail == "leaf is in the tray"
