"""Scenes are repeatable, inside the ranges that were promised, and keep the splits apart."""

import numpy as np
import pytest

from vla_policy.sim.scenes.scene import (
    HELD_OUT_PAIRS,
    PAD_RADIUS_M,
    SIZE_RATIO,
    TRAY_HALF_M,
    sample_scene,
)
from vla_policy.sim.tasks.references import DISTANCE_GAP_M, all_references, resolve


def test_the_same_seed_gives_the_same_scene() -> None:
    assert sample_scene(5) == sample_scene(5)
    assert sample_scene(5) != sample_scene(6)
    assert sample_scene(5) != sample_scene(5, split="other_table")


def test_objects_differ_in_name_and_size_and_do_not_touch() -> None:
    for seed in range(200):
        scene = sample_scene(seed)
        assert len({o.name for o in scene.objects}) == 3
        halves = sorted(o.half_m for o in scene.objects)
        assert halves[1] / halves[0] >= SIZE_RATIO and halves[2] / halves[1] >= SIZE_RATIO
        xy = np.array([o.xy for o in scene.objects])
        for i, item in enumerate(scene.objects):
            others = np.delete(np.arange(3), i)
            assert np.linalg.norm(xy[others] - xy[i], axis=1).min() > 0.05
            assert np.abs(xy[i] - scene.tray_xy).max() > TRAY_HALF_M
            assert np.linalg.norm(xy[i] - scene.pad_xy) > PAD_RADIUS_M + item.half_m


def test_held_out_pairs_are_never_in_training_scenes() -> None:
    for split in ("train", "moved_camera", "other_table"):
        for seed in range(300):
            pairs = {(o.colour, o.shape) for o in sample_scene(seed, split=split).objects}
            assert not pairs & HELD_OUT_PAIRS


def test_unseen_pairs_always_has_exactly_one_of_them() -> None:
    for seed in range(100):
        scene = sample_scene(seed, split="unseen_pairs")
        assert sum((o.colour, o.shape) in HELD_OUT_PAIRS for o in scene.objects) == 1


def test_other_table_and_moved_camera_leave_the_training_range() -> None:
    train = [sample_scene(s).looks for s in range(300)]
    moved = [sample_scene(s, split="moved_camera").looks for s in range(100)]
    front = np.array([looks.front_position for looks in train])
    centre, reach = front.mean(0), np.abs(front - front.mean(0)).max(0)
    assert all((np.abs(np.array(m.front_position) - centre) > reach + 0.01).all() for m in moved)
    tables = np.array([looks.table_rgb for looks in train])
    for seed in range(100):
        table = np.array(sample_scene(seed, split="other_table").looks.table_rgb)
        assert np.linalg.norm(tables - table, axis=1).min() > 0.05


@pytest.mark.parametrize(("seed", "split"), [(-1, "train"), (0, "trian")])
def test_a_wrong_seed_or_split_is_refused(seed: int, split: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        sample_scene(seed, split=split)


def test_every_reference_means_what_it_says() -> None:
    for seed in range(100):
        scene = sample_scene(seed)
        for reference in all_references(scene):
            found = resolve(reference.phrase, scene)
            assert (found.target, found.anchor) == (reference.target, reference.anchor)


def test_left_is_smaller_y_and_distances_have_a_margin() -> None:
    said = 0
    for seed in range(60):
        scene = sample_scene(seed)
        xy = np.array([o.xy for o in scene.objects])
        for reference in all_references(scene):
            if reference.kind == "relation" and " left of " in f" {reference.phrase} ":
                assert xy[reference.target, 1] < xy[reference.anchor, 1]
                said += 1
            if reference.phrase.startswith("object nearest to the tray"):
                distance = np.sort(np.linalg.norm(xy - scene.tray_xy, axis=1))
                assert distance[1] - distance[0] >= DISTANCE_GAP_M
    assert said > 10
