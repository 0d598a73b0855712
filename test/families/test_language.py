"""Sentences that a checkpoint understands: its own, however typed, and nothing else."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.families.language import FILE, Understood, from_dict, to_dict
from vla_policy.formats.native.language import NAMING, read_language
from vla_policy.paths import weights_dir
from vla_policy.policy import load_policy
from vla_policy.train.tiny.language import language_of, unread
from vla_policy.types import Observation

TINY = weights_dir() / "tiny"
LANGUAGE = read_language(TINY, ("vx300s",))

REFUSED = """
pick up the banana|go home|don't touch the purple ball|do not pick up the red cube|never lift the cube
throw the red cube|hit the green ball|open the drawer|turn on the light|what is on the table?|can you see the red cube?
is the red cube in the tray|where is the ball|how many cubes are there|asdf qwer|red|cube|pick up|lift|put|the|please
pick up the red|put the red cube|put the red cube in|push the ball|push the ball to the tray|put it in the tray
cube the up pick|the red cube pick up|put the tray in the red cube|pick up the tray|lift the pad|lift the table
pick up the red cube and the blue ball|pick up the red cube then push the blue ball to the pad
pick up the red cube or the blue ball|pick up everything|pick up nothing|pick up two cubes|pick up the cubes
put the red cube on the moon|put the red cube under the tray|put the red cube next to the tray|put the cube in the ball
pick up the pink cube|pick up the black ball|pick up the heavy cube|pick up the invisible red cube|red red red cube
pick up the red cube and eat it|give me the red cube|hand me the ball|make me a sandwich|dance|wave|lower the arm
heb den roten Würfel auf|coge el cubo rojo|拿起红色方块|pick up the red pyramid|pick up the red cub|pick up teh red cube
pick up the cube left of the banana|pick up the cube above the ball|pick up the second cube|pick up the middle object
put the red cube in the tray slowly|rotate the red cube|stack the red cube on the blue cube|pour the can in the tray
pick up all cubes|pick up any|pick up it|pick up the one|i want you|i want pizza|drop|drop the tray|release|let go
""".strip().replace("\n", "|").split("|")  # fmt: skip


@pytest.mark.parametrize("sentence", REFUSED)
def test_these_are_refused_with_what_is_known(sentence):
    if (
        sentence == "pick up the one"
    ):  # a thing of any kind, as the trained sentences say it, has a colour or a size
        assert not isinstance(LANGUAGE.read(sentence), Understood)
        return
    got = LANGUAGE.read(sentence)
    assert not isinstance(got, Understood), got
    assert got.code == "words"
    assert "pick up the red cube" in got.detail


def test_the_word_that_is_not_known_is_named():
    assert "'banana'" in LANGUAGE.read("pick up the banana").detail
    assert "did you mean 'cube'" in LANGUAGE.read("pick up the red cub").detail
    assert "negation" in LANGUAGE.read("do not pick up the red cube").detail


@pytest.mark.slow
@pytest.mark.parametrize("robot", ["vx300s", "vx300s_pair", "vx300s_mobile"])
@pytest.mark.parametrize("paraphrases", ["seen", "unseen"])
def test_every_sentence_of_a_robot_is_read(robot, paraphrases):
    assert unread(language_of(robot), robot, 300, paraphrases=paraphrases) == []


def typed(sentence: str, rng: np.random.Generator) -> str:
    """As people type it: case, punctuation, please, articles left out."""
    if rng.random() < 0.4:
        sentence = sentence.replace("the ", "")
    if rng.random() < 0.3:
        sentence = (
            str(rng.choice(["please ", "Could you ", "robot, ", "Hey robot, please "])) + sentence
        )
    if rng.random() < 0.3:
        sentence += str(rng.choice([" please", " now", " for me", ", thanks"]))
    case = rng.integers(4)
    sentence = (sentence, sentence.upper(), sentence.capitalize(), f"  {sentence}  ")[case]
    return sentence + str(rng.choice(["", ".", "!", "?", " ..."]))


@pytest.mark.parametrize("suite", ["pick_put", "comparative", "push", "swap", "paraphrase", "unseen_pairs"])  # fmt: skip
def test_every_suite_is_read_however_it_is_typed(suite):
    rng = np.random.default_rng(5)
    for index in range(60):
        _, task = trial(SUITES[suite], 3, index)
        got = LANGUAGE.read(typed(task.instruction, rng))
        assert isinstance(got, Understood), (task.instruction, got)
        assert got.things, "something to look for"


def test_paraphrases_are_put_into_trained_words():
    read = LANGUAGE.read
    assert read("Could you fetch the red block for me?").said == "pick up the red block"
    assert read("i want the largest one in the tray").said == "put the largest one in the tray"
    assert read("nudge blue ball over to pad").said == "push the blue ball over to the pad"
    assert (
        read("grab the can and drop it in the tray").said == "grab the can and drop it in the tray"
    )
    things = read("lift the cube left of the yellow ball").things
    assert things == ({"shape": "cube"}, {"colour": "yellow", "shape": "ball"})
    assert read("lift the cube left of the yellow ball").sides == ((0, "left", 1),)
    assert read("lift the one on the right side of the can").sides == ((0, "right", 1),)
    for plain in (
        "lift the cube left of the tray",
        "lift the cube nearest to the ball",
        "lift the cube",
    ):
        assert read(plain).sides == ()


def test_a_robot_that_was_never_told_to_push_refuses_it():
    assert not isinstance(language_of("vx300s_pair").read("push the ball to the pad"), Understood)


def test_the_shipped_records_are_what_the_command_writes():
    for folder in ("tiny", "tiny_cross"):
        data = json.loads((weights_dir() / folder / FILE).read_text())
        for robot, said in data.items():
            learned = {k: v for k, v in said.items() if k != "second_look"}
            assert learned | {"least": None, "accepts": None} == to_dict(language_of(robot))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("forms", "pick"),
        ("forms", [["a", "b", "c"]]),
        ("forms", [["{fly} the {thing}"]]),
        ("things", [1]),
        ("classes", {"pick": "lift"}),
        ("synonyms", {"pick": {"fetch": "juggle"}}),
        ("synonyms", {"sing": {}}),
        ("looks", {"colour": {"red": -1}}),
        ("least", {"thing": 2.0, "colour": 0.5}),
        ("least", True),
        ("least", {"thing": 0.0, "colour": 0.5}),
        ("accepts", {"thing": 0.1}),
        ("accepts", {"thing": 1.0, "colour": 0.0}),
        ("accepts", {"thing": "few", "colour": 0.0}),
    ],
)
def test_a_record_that_does_not_fit_is_refused(key, value):
    with pytest.raises(ValueError, match="language"):
        from_dict(to_dict(LANGUAGE) | {key: value})


def test_a_policy_says_what_it_understands(tmp_path):
    policy = load_policy("tiny")
    assert policy.understands("pick up the red cube") is None
    assert policy.understands("pick up the banana").code == "words"
    assert policy.understands("\x1b[2J").code == "words"
    shutil.copytree(TINY, tmp_path / "older")
    (tmp_path / "older" / FILE).unlink()
    (tmp_path / "older" / NAMING).unlink(missing_ok=True)
    older = load_policy(str(tmp_path / "older"))
    assert older.understands("pick up the banana") is None
    assert "cannot tell" in older.understanding


def test_a_record_without_what_it_accepts_is_read():
    older = to_dict(LANGUAGE)
    del older["accepts"]
    assert from_dict(older) == replace(LANGUAGE, accepts=None)


@pytest.mark.parametrize(
    ("accepts", "says"),
    [
        (None, "and things that it does not see"),
        ({"thing": 0.02, "shape": 0.1, "colour": 0.0}, "and things that it does not see"),
        (
            {"thing": 0.18, "shape": 0.23, "colour": 0.0},
            "it cannot tell reliably what it does not see unless it is named by colour alone: "
            "up to 23% of what is not there is tried",
        ),
        (
            {"thing": 0.04, "shape": 0.12, "colour": 0.0},
            "unless it is named by colour and shape or colour alone: up to 12%",
        ),
    ],
)
def test_a_policy_that_cannot_tell_what_is_there_says_so(accepts, says):
    policy = load_policy("tiny")
    language = replace(policy.checkpoint.language, accepts=accepts)
    changed = replace(policy, checkpoint=replace(policy.checkpoint, language=language))
    assert says in changed.understanding
    assert ("cannot tell" in changed.understanding) == ("cannot tell" in says or "12%" in says)


def test_a_record_of_another_robot_or_a_broken_one_is_refused(tmp_path):
    shutil.copytree(TINY, tmp_path / "other")
    data = json.loads((TINY / FILE).read_text())
    (tmp_path / "other" / FILE).write_text(
        json.dumps({"ur5e": data["vx300s"], "fr3": data["vx300s"]})
    )
    with pytest.raises(ValueError, match=r"language\.json: for ur5e, fr3, expected vx300s"):
        load_policy(str(tmp_path / "other"))
    (tmp_path / "other" / FILE).write_text("[]")
    with pytest.raises(ValueError, match=r"language\.json"):
        load_policy(str(tmp_path / "other"))


def test_the_network_reads_the_trained_sentence():
    policy = load_policy("tiny")
    contract = policy.contract
    rng = np.random.default_rng(0)
    neutral = {"x": 0.3, "z": 0.2, "qw": 1.0, "gripper": 1.0}

    def chunk(sentence):
        return policy.infer(
            Observation(
                images={n: rng.integers(0, 1, (96, 96, 3)).astype(np.uint8) for n in contract.camera_names},
                state=np.array([neutral.get(n.rpartition(".")[2], 0.0) for n in contract.state_names]),
                state_names=contract.state_names,
                instruction=sentence,
                obs_ns=1,
            ),
            seed=0,
        )  # fmt: skip

    plain, typed_ = chunk("pick up the red cube"), chunk("Could you FETCH red cube, please?")
    np.testing.assert_array_equal(plain.actions, typed_.actions)
    assert typed_.instruction == "Could you FETCH red cube, please?"
