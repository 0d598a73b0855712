"""Things of base scenes in a new colour, where a thing is in an image, and answers that stay."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_frames import make_frames

from vla_policy.data.frames import load_frames
from vla_policy.families.language import Language
from vla_policy.policy import load_local
from vla_policy.train.tiny.camera_fit import projected, projection
from vla_policy.train.tiny.demonstrated_thing import ShownThing
from vla_policy.train.tiny.kept_answers import kept
from vla_policy.train.tiny.new_word import NewWord, with_token, with_word
from vla_policy.train.tiny.painted import painted, painted_near, painted_things
from vla_policy.train.tiny.painted_lesson import painted_parts
from vla_policy.train.tiny.standing_out import front_places

WHITE = np.array([240.0, 240.0, 240.0])
RED, TABLE = (200, 20, 20), 120


def scene() -> np.ndarray:
    """A red thing, half in shadow, on a grey table."""
    image = np.full((96, 96, 3), TABLE, np.uint8)
    image[40:46, 40:50], image[46:50, 40:50] = RED, (100, 10, 10)
    return image


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    different: np.ndarray = (before != after).any(-1)
    return different


def test_a_camera_is_found_from_what_it_showed() -> None:
    rng = np.random.default_rng(0)
    camera = np.array([[1.0, 0.1, 0.5, 0.1], [0.0, 1.2, 0.4, 0.2], [0.05, 0.0, 1.0, 0.6]])
    xyz = rng.uniform(-0.2, 0.2, (60, 3))
    uv, _ = projected(camera, xyz)
    again, seen = projected(projection(xyz, uv), xyz)
    assert again == pytest.approx(uv, abs=1e-6)
    assert seen.tolist() == ((uv > 0) & (uv < 1)).all(1).tolist()


def test_a_camera_of_places_on_a_table_knows_what_is_above_it() -> None:
    rng = np.random.default_rng(1)
    camera = np.array([[0.9, 0.0, 0.3, 0.1], [0.1, 0.8, -0.5, 0.5], [0.1, 0.0, 0.2, 0.8]])
    xyz = rng.uniform([0.2, -0.2, 0.0], [0.45, 0.2, 0.02], (400, 3))
    xyz[:40, 2] += 0.1  # some are held
    uv, _ = projected(camera, xyz)
    found = projection(xyz, uv + rng.normal(0, 0.005, uv.shape))
    above = np.array([[0.3, 0.1, 0.15], [0.4, -0.1, 0.12]])
    assert projected(found, above)[0] == pytest.approx(projected(camera, above)[0], abs=0.02)


def test_a_thing_is_painted_with_its_shading_and_what_is_beside_it_is_not() -> None:
    image = scene()
    image[:20] = (20, 20, 200)
    out = painted(image, np.array([45.0, 45.0]) / 96, WHITE)
    assert out is not None
    assert out[42, 45] == pytest.approx(WHITE, abs=2)
    assert out[48, 45] == pytest.approx(WHITE / 2, abs=12)
    beside = np.ones((96, 96), bool)
    beside[40:50, 40:50] = False
    assert (out[beside] == image[beside]).all()
    assert painted(np.full((96, 96, 3), TABLE, np.uint8), np.array([0.5, 0.5]), WHITE) is None


def test_in_a_wrist_image_all_that_is_joined_is_painted_and_another_of_its_colour_is_not() -> None:
    image = np.full((96, 96, 3), TABLE, np.uint8)
    image[20:60, 30:65], image[60:70, 30:65] = RED, (90, 9, 9)
    image[80:90, 80:90] = RED
    out = painted_near(image, np.array([48.0, 40.0]) / 96, WHITE, np.array(RED, float))
    assert out is not None
    expected = np.zeros((96, 96), bool)
    expected[20:70, 30:65] = True
    assert (changed(image, out) == expected).all()
    assert out[30, 40] == pytest.approx(WHITE, abs=2)


@pytest.mark.parametrize("case", ["hidden", "of another colour", "on a table of its colour"])
def test_what_cannot_be_told_apart_in_a_wrist_image_is_left_out(case: str) -> None:
    image, uv, front = scene(), np.array([45.0, 45.0]) / 96, np.array(RED, float)
    if case == "hidden":
        uv = np.array([0.8, 0.8])
    elif case == "of another colour":
        front = np.array([20.0, 20.0, 200.0])
    else:
        image[image[..., 0] == TABLE] = (130, 60, 60)
    assert painted_near(image, uv, WHITE, front) is None


def base(folder: Path, count: int) -> None:
    """Scenes with one red thing that is asked for first, in view of both cameras in the first half of them."""
    make_frames(folder, "vx300s", count)
    for camera in ("front", "wrist"):
        np.save(folder / f"{camera}.npy", np.stack([scene()] * count))
    for name in ("front_uv", "wrist_uv"):
        uv = np.load(folder / f"{name}.npy")
        uv[:] = 45 / 96
        np.save(folder / f"{name}.npy", uv)
    visible = np.zeros((count, 4), bool)
    visible[: count // 2] = True
    np.save(folder / "wrist_visible.npy", visible)
    for name, number in (("colour", 0), ("shape", 0)):
        np.save(folder / f"target_{name}.npy", np.full((count, 4), number))


def test_a_thing_is_painted_in_both_images_or_in_the_one_that_shows_it(tmp_path: Path) -> None:
    base(tmp_path / "shard_0", 12)
    frames = load_frames(tmp_path)
    paints = painted_things(frames, np.tile(WHITE, (2, 1)), 0)
    assert len(paints) == 12 and paints.seen.tolist() == [True] * 6 + [False] * 6
    _, wrist = frames.images(paints.row)
    assert changed(paints.before, paints.after).any((1, 2)).all()
    assert changed(wrist, paints.wrist).any((1, 2)).tolist() == paints.seen.tolist()


def test_answers_are_kept_and_a_painted_thing_is_asked_for_in_both_images(tmp_path: Path) -> None:
    checkpoint = load_local("tiny", engine="off").checkpoint
    base(tmp_path / "shard_0", 6)
    frames = load_frames(tmp_path)
    new = NewWord("white", "colour", 6)
    assert isinstance(checkpoint.language, Language)
    language, grown = with_word(checkpoint.language, new), with_token(checkpoint, "white")
    paints = painted_things(frames, np.tile(WHITE, (2, 1)), 0)
    teacher = grown.model.vision
    tower = copy.deepcopy(teacher)

    def of_base() -> float:
        with torch.no_grad():
            return float(kept(tower, teacher, grown, frames, np.random.default_rng(0), 2))

    assert of_base() == pytest.approx(0.0, abs=1e-6)
    parts = painted_parts(
        tower, teacher, grown, language, new, paints, frames, np.random.default_rng(0), count=4,
        questions=2,
    )  # fmt: skip
    assert {"painted_xyz", "painted_wrist", "painted_heat", "painted_told"} <= set(parts)
    torch.stack(list(parts.values())).sum().backward()
    weight = tower.wrist.stem[0].weight
    assert weight.grad is not None and weight.grad.abs().sum() > 0
    with torch.no_grad():
        tower.front.value.bias += 1.0  # what is seen at a place, not where
    assert of_base() > 0.1


def test_where_a_thing_lies_is_what_stands_out_and_in_the_hand_the_camera_says_it() -> None:
    camera = np.array([[1.0, 0.0, 0.0, 0.1], [0.0, 1.0, -0.5, 0.5], [0.0, 0.0, 0.0, 1.0]])
    xyz = np.array([[0.3, 0.0, 0.02]] * 3 + [[0.4, 0.0, 0.12]], np.float32)
    said, _ = projected(camera, xyz.astype(float))
    off = np.array([3.0, -2.0]) / 96  # the camera stands a little differently
    front = np.full((4, 96, 96, 3), TABLE, np.uint8)
    column, row = np.floor((said[0] + off) * 96).astype(int)
    front[:3, row - 3 : row + 4, column - 3 : column + 4] = 250
    shown = ShownThing(
        front, front, np.zeros((4, 4), np.float32), xyz, np.array([True, True, False, False]),
        np.zeros(4, int), ("pick up the white cube",) * 4,
    )  # fmt: skip
    found = front_places(shown, camera)
    there = (np.array([column, row]) + 0.5) / 96
    assert found[:3] == pytest.approx(np.tile(there, (3, 1)), abs=1e-6)
    assert found[3] == pytest.approx(said[3] + there - said[0], abs=1e-6)
