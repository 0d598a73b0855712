"""Evaluation: fair scenes, honest intervals, failures named by what physics shows."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest

from vla_policy.commands import evaluate
from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.expert_policy import ExpertPolicy
from vla_policy.evaluate.metrics import markdown, summarise, wilson
from vla_policy.evaluate.rollout import roll_out
from vla_policy.evaluate.suites import FIRST_SEED, SUITES, trial
from vla_policy.models.sampling import InferenceOptions
from vla_policy.sim.demonstrations.generate import SEEDS_PER_SET
from vla_policy.sim.scenes.scene import HELD_OUT_PAIRS
from vla_policy.sim.world.world import World


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(60, 60, 0.940, 1.0), (0, 10, 0.0, 0.278), (50, 100, 0.404, 0.596)],
)
def test_wilson_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("name", SUITES)
def test_trials_are_repeatable_and_unseen_in_training(name: str) -> None:
    suite = SUITES[name]
    for index in range(8):
        scene, task = trial(suite, 0, index)
        assert (scene, task) == trial(suite, 0, index)
        assert scene.seed >= FIRST_SEED >= 10 * SEEDS_PER_SET
        assert scene.split == suite.split and task.family in suite.families
        if suite.split == "unseen_pairs":
            target = scene.objects[task.target]
            assert (target.colour, target.shape) in HELD_OUT_PAIRS
    assert trial(suite, 1, 0)[0] != trial(suite, 0, 0)[0]


def test_swap_names_another_object_of_the_same_scene() -> None:
    for index in range(20):
        scene, task = trial(SUITES["pick_put"], 0, index)
        same, other = trial(SUITES["swap"], 0, index)
        assert same == scene and other.target != task.target
        assert (other.family, other.destination) == (task.family, task.destination)


class Wrong(ExpertPolicy):
    """The expert, told to do it to another object."""

    def prepare(self, world, task) -> None:
        super().prepare(world, replace(task, target=(task.target + 1) % 3))


class Still(ExpertPolicy):
    """Stays where it is."""

    def infer_chunk(self, observation, previous, options):
        chunk = super().infer_chunk(observation, previous, options)
        return replace(chunk, actions=np.tile(observation.state, (8, 1)))


class Up(ExpertPolicy):
    """Rises, in chunks that end before the next one comes: then the guard commands the gripper alone."""

    rows = 5

    def infer_chunk(self, observation, previous, options):
        actions = np.tile(observation.state, (5, 1))
        actions[:, 2] += 0.01 * np.arange(1, 6)
        return replace(super().infer_chunk(observation, previous, options), actions=actions)


def test_an_arm_that_the_guard_holds_stays_while_its_gripper_is_commanded() -> None:
    robot, world = load_embodiment("vx300s"), World(renderer="raycast")
    world.twin = replace(world.twin, seconds=4.0)  # it is up a second before
    scene, task = trial(SUITES["pick_put"], 0, 0)
    outcome = roll_out(Up(), world, scene, task, embodiment=robot, pace=Pace(), moves=True)
    assert outcome.failure == "nothing_moved" and outcome.interventions
    height = world.robot_state().poses["ee"][2]
    assert 0.3 < height < robot.limits.groups["arm"].workspace.upper[2] + 0.05


@pytest.mark.slow
def test_outcomes_of_a_right_a_wrong_and_an_idle_policy() -> None:
    robot, world = load_embodiment("vx300s"), World(renderer="raycast")
    scene, task = trial(SUITES["pick_put"], 0, 0)
    rows = {}
    for name, kind in (("right", ExpertPolicy), ("wrong", Wrong), ("still", Still)):
        outcome = roll_out(kind(), world, scene, task, embodiment=robot, pace=Pace(), moves=True)
        rows[name] = json.loads(json.dumps(outcome.to_dict()))
    assert rows["right"]["success"] and rows["right"]["looked_right"]
    assert rows["wrong"]["failure"] == "wrong_object" and not rows["wrong"]["looked_right"]
    assert rows["still"]["failure"] == "nothing_moved" and rows["still"]["seconds"] == 12.0
    report = summarise(list(rows.values()))
    assert (report["successes"], report["trials"]) == (1, 3)
    assert report["failures"] == {"wrong_object": 1, "nothing_moved": 1}
    assert "| pick_put | 1/3 = 33.3% |" in markdown({"pick_put": report})


def test_an_unknown_suite_is_refused() -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    with pytest.raises(ValueError, match="pick_put"):
        evaluate.run(parser.parse_args(["--suite", "pickput"]))


class Blind(Still):
    """Cannot point, says at once that it is done, and keeps how it was asked."""

    can_point = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int | None] = []

    def infer_chunk(self, observation, previous, options):
        self.asked.append(options.num_steps)
        return replace(super().infer_chunk(observation, previous, options), terminate=True)


def test_a_policy_that_cannot_point_is_tried_with_the_steps_that_were_asked_for() -> None:
    robot, world = load_embodiment("vx300s"), World(renderer="raycast")
    scene, task = trial(SUITES["pick_put"], 0, 0)
    policy = Blind()
    asked = {"embodiment": robot, "pace": Pace()}
    outcome = roll_out(
        policy, world, scene, task, moves=True, options=InferenceOptions(num_steps=3), **asked
    )
    assert (outcome.failure, outcome.looked_right) == ("ended_early", None)
    assert policy.asked and set(policy.asked) == {3}
    with pytest.raises(
        ValueError, match="asks where the policy looks, and this kind of model cannot"
    ):
        roll_out(policy, world, scene, task, moves=False, **asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-steps", "0"], "--num-steps: got 0, expected at least 1"),
        (["--num-steps", "3", "--policy", "expert"], "--num-steps: got 3, .* of a flow head"),
    ],
)
def test_steps_that_nothing_would_take_are_refused(options: list[str], message: str) -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    with pytest.raises(ValueError, match=message):
        evaluate.run(parser.parse_args(options))
