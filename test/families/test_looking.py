"""The shipped policies refuse what they do not see: measured at length by benchmarks/looking.py, here on a few pictures."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_policy.formats.native.language import NAMING, read_naming, write_naming
from vla_policy.models.naming import Naming, NamingConfig
from vla_policy.paths import weights_dir
from vla_policy.policy import Policy, load_policy
from vla_policy.sim.scenes.scene import SHAPES, sample_scene
from vla_policy.sim.tasks.references import all_references
from vla_policy.sim.world.world import World
from vla_policy.types import Observation, Reason

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from looking_cases import absent_things, cases_of

SCENES = 20
HARD = ("pair", "pair_both_there", "shape_alone")  # the kinds that are told apart least


def observation(policy: Policy, image: np.ndarray, sentence: str) -> Observation:
    names = policy.contract.state_names
    return Observation(
        images={policy.contract.camera_names[0]: image},
        state=np.zeros(len(names)),
        state_names=names,
        instruction=sentence,
        obs_ns=0,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "robot", "most"), [("tiny", "vx300s", 0.1), ("tiny_cross", "vx300s_pair", 0.2)]
)
def test_what_is_not_there_is_refused_and_what_is_there_is_not(name, robot, most):
    policy, world = load_policy(name, embodiment=robot), World(robot=robot)
    wrong, at = {True: [], False: []}, None
    for case in (c for c in cases_of(robot, SCENES) if c.kind in HARD):
        if case.seed != at:
            at = case.seed
            world.reset(sample_scene(case.seed, split=case.split, robot=robot))
            image = world.render("front")
        refusal = policy.sees(observation(policy, image, case.sentence))
        wrong[case.there].append((refusal is None) != case.there)
    world.close()
    assert len(wrong[True]) == SCENES
    assert not any(wrong[True])
    assert np.mean(wrong[False]) <= most


@pytest.mark.slow
def test_it_says_what_it_does_not_see():
    policy = load_policy("tiny")
    image = np.full((96, 96, 3), 120, np.uint8)
    assert policy.sees(observation(policy, image, "pick up the red cube")).detail == "no red cube is to be seen on the table"  # fmt: skip
    assert policy.sees(observation(policy, image, "lift the ball")).code == "not_seen"


@pytest.mark.slow
def test_a_thing_on_the_other_side_is_not_what_is_asked_for():
    """What is clearly on one side of another, asked for on that side and on the other."""
    policy, world = load_policy("tiny"), World(robot="vx300s")
    here, elsewhere = [], []
    for seed in range(800_000, 800_004):
        scene = sample_scene(seed)
        world.reset(scene)
        image = world.render("front")
        shapes = [o.shape for o in scene.objects]
        for phrase in (r.phrase for r in all_references(scene) if " of the " in r.phrase):
            if shapes.count(phrase.split()[0]) != 1 or "to the" in phrase:
                continue
            side, other = ("left", "right")[:: 1 if "left" in phrase else -1]
            seen = policy.sees(observation(policy, image, f"lift the {phrase}"))
            here.append(seen is not None and f" {side} of " in seen.detail)
            phrase = phrase.replace(side, other)
            elsewhere.append(policy.sees(observation(policy, image, f"lift the {phrase}")) is None)
    world.close()
    assert len(here) > 10
    assert not any(here)
    assert np.mean(elsewhere) < 0.1


def test_absent_things_are_absent_as_their_kind_says():
    for seed in range(50):
        scene = sample_scene(seed)
        there = {(o.colour, o.shape) for o in scene.objects}
        colours, shapes = {c for c, _ in there}, {s for _, s in there}
        for kind, names in absent_things(scene).items():
            for colour, shape in (name.split() for name in names if " " in name):
                assert (colour, shape) not in there
                assert (colour in colours) == (kind in ("pair_colour_there", "pair_both_there")) or kind == "pair_shape_there"  # fmt: skip
                if kind in ("pair_shape_there", "pair_both_there"):
                    assert shape in shapes
        assert not shapes & set(absent_things(scene)["shape_alone"])


def test_a_folder_of_before_the_second_look_is_read_as_it_was(tmp_path):
    checkpoint = load_policy("tiny").checkpoint
    sizes = checkpoint.model.config
    before = Naming(NamingConfig(sizes.vision.channels[2], closer=False))
    write_naming(tmp_path, before)
    read = read_naming(tmp_path, sizes, "cpu")
    assert read.closer is None
    assert read.state_dict().keys() == before.state_dict().keys()
    shutil.copy(weights_dir() / "tiny" / NAMING, tmp_path / NAMING)
    assert read_naming(tmp_path, sizes, "cpu").closer is not None


def test_a_thing_named_by_its_shape_alone_has_a_least_score_of_its_own():
    policy = load_policy("tiny")
    language = policy.checkpoint.language
    image = np.full((96, 96, 3), 120, np.uint8)

    def sees(sentence, **least):
        own = replace(language, least={"thing": 0.0, "colour": 0.0} | least)
        changed = replace(policy, checkpoint=replace(policy.checkpoint, language=own))
        return changed.sees(observation(policy, image, sentence))

    assert sees("lift the ball") is None
    assert sees("lift the ball", shape=0.9) is not None
    assert sees("lift the red ball", shape=0.9) is None


@pytest.mark.parametrize("robot", ["vx300s", "vx300s_pair", "vx300s_mobile"])
def test_a_robot_whose_camera_does_not_show_shapes_says_so(robot):
    policy = load_policy("tiny_cross", embodiment=robot)
    assert "cannot tell reliably" not in policy.understanding
    language = policy.checkpoint.language
    accepts = {"thing": 0.3, "shape": 0.35, "colour": 0.0}
    poor = replace(policy.checkpoint, language=replace(language, accepts=accepts))
    says = replace(policy, checkpoint=poor).understanding
    assert "cannot tell reliably" in says and "unless it is named by colour alone" in says


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["judge", "looking", "more"])
def test_the_sentences_that_were_said_are_those_that_are_kept(name):
    kept = BENCHMARKS / f"sentences_{name}.json"
    result = json.loads((BENCHMARKS / f"sentences_{name}_result.json").read_text())
    assert result["summary"]["sha256"] == hashlib.sha256(kept.read_bytes()).hexdigest()
    said = [(row["sentence"], row.get("seed")) for row in result["sentences"]]
    cases = [(case["sentence"], case.get("seed")) for case in json.loads(kept.read_text())]
    assert [case for case in cases if case in said] == said


@pytest.mark.slow
def test_what_the_sentences_name_is_there_or_not_as_their_kind_says():
    language = load_policy("tiny").checkpoint.language
    for case in json.loads((BENCHMARKS / "sentences_more.json").read_text()):
        absent = case["kind"].startswith("absent") and case["kind"] != "absent side"
        read = language.read(case["sentence"])
        if not (absent or case["expect"] == "move") or isinstance(read, Reason):
            continue
        objects = sample_scene(case["seed"]).objects
        there = [
            any(
                thing.get("colour", o.colour) == o.colour
                and language.looks["shape"].get(thing.get("shape", o.shape))
                == SHAPES.index(o.shape)
                for o in objects
            )
            for thing in read.things
        ]
        assert all(there) != absent, case
