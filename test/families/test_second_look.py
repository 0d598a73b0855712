"""The second look points: at the places that it takes for what is named, and nowhere else while it sees such a one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import SecondLook, from_dict, to_dict
from vla_policy.families.tiny import second_look, tiny
from vla_policy.models.naming import Places
from vla_policy.policy import load_policy
from vla_policy.sim.twin import TWINS, find_twin
from vla_policy.types import Observation

LEFT, RIGHT, FAR = (0.25, 0.5), (0.75, 0.5), (0.5, 0.1)


class Shown:
    """In place of models/naming.py: at each place so surely a red cube, a red ball, nothing; notes what it was shown."""

    def __init__(self, *cube: float, ball: tuple[float, ...] = (0.0, 0.0, 0.0)) -> None:
        self.cube, self.ball, self.sides = torch.tensor(cube), torch.tensor(ball), []

    def places(self, images: torch.Tensor, features: torch.Tensor) -> Places:
        self.sides.append(images.shape[-1])
        colour, shape = torch.zeros(1, 3, 7), torch.zeros(1, 3, 4)
        red = self.language["colour"]["red"]
        colour[0, :, red] = 1.0
        shape[0, :, self.language["shape"]["cube"]] = self.cube
        shape[0, :, self.language["shape"]["ball"]] = self.ball
        shape[0, :, -1] = 1 - self.cube - self.ball
        return Places(torch.tensor([[LEFT, RIGHT, FAR]]), colour, shape)


def looking(shown: Shown, px: int = 144, *, points: bool = True) -> Checkpoint:
    checkpoint = load_policy("tiny_cross", embodiment="vx300s_mobile").checkpoint
    shown.language = checkpoint.language.looks
    language = replace(checkpoint.language, second_look=SecondLook(px, points))
    return replace(checkpoint, language=language, naming=shown)


def allowed(checkpoint: Checkpoint, sentence: str) -> list[tuple[float, float]] | None:
    """Which of the places are left."""
    only = second_look.meant(checkpoint, torch.zeros(1, 3, 144, 144), sentence)
    if only is None:
        return None
    patches = checkpoint.model.vision.front.uv
    open_to = patches[only == 0]
    near = [p for p in (LEFT, RIGHT, FAR) if (open_to - torch.tensor(p)).norm(dim=1).min() < 0.04]
    assert (only[only != 0] == second_look.ELSEWHERE).all()
    assert 0 < len(open_to) < 12 * len(near)
    return near


def test_only_the_place_of_what_is_named_is_left() -> None:
    seen = looking(Shown(0.9, 0.05, 0.0, ball=(0.1, 0.9, 0.0)))
    assert allowed(seen, "pick up the red cube") == [LEFT]
    assert allowed(seen, "put the ball in the tray") == [RIGHT]


def test_where_it_sees_no_such_thing_the_tower_points_alone() -> None:
    least = looking(Shown(0.0, 0.0, 0.0)).language.least["thing"]
    assert allowed(looking(Shown(least - 0.01, 0.0, 0.0)), "pick up the red cube") is None
    assert allowed(looking(Shown(least + 0.01, 0.0, 0.0)), "pick up the red cube") == [LEFT]
    assert allowed(looking(Shown(0.9, 0.9, 0.9)), "dance") is None
    assert allowed(looking(Shown(0.9, 0.9, 0.9)), "pick up the smallest object") is None


def test_of_two_of_a_kind_both_are_left() -> None:
    """Which of them is smaller is for the tower to say."""
    seen = looking(Shown(0.95, 0.7, 0.1))
    assert allowed(seen, "pick up the largest cube") == [LEFT, RIGHT]


def observation(px: int) -> Observation:
    rng = np.random.default_rng(0)
    images = {
        n: rng.integers(0, 255, (s, s, 3), dtype=np.uint8)
        for n, s in (("front", px), ("wrist", 96))
    }
    names = load_policy("tiny_cross", embodiment="vx300s_mobile").contract.state_names
    state = np.array([0.2, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.5])
    return Observation(images, state, names, "pick up the red cube", 0)


def target(checkpoint: Checkpoint) -> np.ndarray:
    with torch.inference_mode():
        return tiny.point(checkpoint, observation(144))["target_xyz"]


@pytest.mark.parametrize("place", [LEFT, RIGHT])
def test_the_tower_points_where_it_is_left(place: tuple[float, float]) -> None:
    scores = [0.9 if p == place else 0.0 for p in (LEFT, RIGHT, FAR)]
    shown = Shown(*scores)
    there = looking(shown)
    pointed = target(there)
    assert shown.sides == [144]  # the larger picture; the tower has one of 96
    alone = looking(Shown(*scores), points=False)
    plain = target(alone)
    assert not alone.naming.sides
    assert np.abs(pointed - plain).max() > 1e-3
    # The upper side of its image is towards the robot: what is left in it lies to the robot's right.
    other = looking(Shown(*[0.9 if p == FAR else 0.0 for p in (LEFT, RIGHT, FAR)]))
    side = np.sign(pointed[1] - target(other)[1])
    assert side == (-1 if place == LEFT else 1)


def test_the_shipped_mobile_robot_has_a_finer_camera_and_points_so() -> None:
    policy = load_policy("tiny_cross", embodiment="vx300s_mobile")
    assert policy.checkpoint.language.second_look == SecondLook(144, points=True)
    twin = find_twin("vx300s_mobile")
    assert (twin.side_px("front"), twin.side_px("wrist"), twin.side_px("front", 192)) == (
        144,
        96,
        288,
    )
    others = {name: t.side_px("front") for name, t in TWINS.items() if not t.drives}
    assert set(others.values()) == {96}
    assert max(policy.checkpoint.language.accepts.values()) <= 0.1


def test_what_a_file_says_of_it_is_read_strictly() -> None:
    language = load_policy("tiny_cross", embodiment="vx300s_mobile").checkpoint.language
    plain = to_dict(language)
    assert from_dict(plain) == language
    assert from_dict({k: v for k, v in plain.items() if k != "second_look"}).second_look is None
    for value in (
        3,
        {"px": 144},
        {"px": 4, "points": True},
        {"px": 144, "points": 1},
        {"px": 144, "points": True, "a": 1},
    ):
        with pytest.raises(ValueError, match=r"language\.second_look: got"):
            from_dict(plain | {"second_look": value})
