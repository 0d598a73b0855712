"""A thing with a new name, learned from demonstrations: what it is called, where it stood, and that nothing else changes."""

import json
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest
import torch
from tiny_frames import make_frames

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.cli import main
from vla_policy.data.frames import load_frames
from vla_policy.evaluate import own_episodes
from vla_policy.evaluate.own_episodes import OwnEpisodes
from vla_policy.families.language import Language, Understood
from vla_policy.formats.native.folder import save
from vla_policy.models import tokenizer
from vla_policy.models.naming import Naming
from vla_policy.policy import load_local, load_policy
from vla_policy.train.tiny.demonstrated_thing import ShownThing, places
from vla_policy.train.tiny.new_word import (
    NewWord,
    is_new_word,
    new_word_of,
    with_class,
    with_token,
    with_word,
)
from vla_policy.train.tiny.phrases import phrases, twins
from vla_policy.train.tiny.pictures import to_images
from vla_policy.train.tiny.point_at_word import (
    REACH,
    PointSteps,
    learn_word,
)
from vla_policy.train.tiny.see_word import Examples, SeeSteps, learn_to_see

WHITE = NewWord("white", "colour", 6)
OLD = ("pick up the red cube", "put the ball left of the blue can in the tray")


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return load_local("tiny", engine="off").checkpoint


@pytest.fixture(scope="module")
def language(tiny: Checkpoint) -> Language:
    assert isinstance(tiny.language, Language)
    return tiny.language


def test_the_new_word_is_found_with_its_kind(language: Language) -> None:
    said = ["pick up the white cube", "put the white object in the tray", "pick up the red ball"]
    assert new_word_of(language, said) == WHITE
    assert new_word_of(language, ["lift the mug", "grab the green mug"]) == NewWord(
        "mug", "shape", 3
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("pick up the red cube", "nothing new"),
        ("pick up the shiny white cube", "'shiny', 'white'"),
        ("shake the red cube", "'shake'"),
        ("pick up the cube red", "known words"),
    ],
)
def test_what_is_not_one_new_word_for_a_thing_is_refused(
    language: Language, said: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        new_word_of(language, [said])
    assert not is_new_word(language, [said])


def test_with_the_word_its_sentences_are_read_and_the_others_as_before(language: Language) -> None:
    more = with_word(language, WHITE)
    read = more.read("grab the white can")
    assert isinstance(read, Understood) and read.things == ({"colour": "white", "shape": "can"},)
    for sentence in (*OLD, "grab the pink can"):
        assert more.read(sentence) == language.read(sentence) or "pink" in sentence
    assert more.looks["colour"]["white"] == 6 and language.looks["colour"].get("white") is None


def asked(checkpoint: Checkpoint, *sentences: str) -> torch.Tensor:
    ids = [tokenizer.encode(checkpoint.tokenizer, s, 40) for s in sentences]
    return torch.tensor(ids)[None]


def pointed(checkpoint: Checkpoint, *sentences: str) -> torch.Tensor:
    image = torch.linspace(-1, 1, 3 * 96 * 96).reshape(1, 3, 96, 96)
    with torch.inference_mode():
        places: torch.Tensor = checkpoint.model.vision.look(
            image, asked(checkpoint, *sentences)
        ).xyz
    return places


def test_a_new_token_reads_as_an_unknown_word_until_it_is_learned(tiny: Checkpoint) -> None:
    grown = with_token(tiny, "white")
    assert grown.model.config.vocab == tiny.model.config.vocab + 1
    assert grown.tokenizer.encode("the white cube").tokens == ["the", "white", "cube"]
    said = "pick up the white cube"
    assert torch.equal(pointed(grown, said, *OLD), pointed(tiny, said, *OLD))
    assert with_token(grown, "white") is grown and tiny.tokenizer.token_to_id("white") is None


def test_a_new_class_is_nothing_until_it_is_learned(tiny: Checkpoint) -> None:
    grown = with_class(tiny.naming, "colour")
    images = torch.linspace(-1, 1, 2 * 3 * 96 * 96).reshape(2, 3, 96, 96)
    features = tiny.model.vision.front.stem(images)
    before, after = (n.places(images, features) for n in (tiny.naming, grown))
    assert after.colour.shape[-1] == before.colour.shape[-1] + 1
    assert float(after.colour[..., 6].detach().max()) < 1e-3
    torch.testing.assert_close(after.named(0, 1), before.named(0, 1), rtol=1e-3, atol=1e-4)


def way(close: float = 0.4) -> np.ndarray:
    """A tool that comes down, closes at x 0.3, rises, goes to x 0.4 and opens there."""
    xs = [0.25, 0.28, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.35, 0.4, 0.4, 0.4, 0.4]
    zs = [0.2, 0.1, 0.05, 0.02, 0.02, 0.02, 0.1, 0.15, 0.15, 0.1, 0.03, 0.03, 0.12]
    opening = [1, 1, 1, 1, (1 + close) / 2, close, close, close, close, close, close, 1, 1]
    return np.stack((xs, np.zeros(13), zs, opening), 1)


def test_the_thing_is_where_the_gripper_closed_then_in_the_hand_then_where_it_opened() -> None:
    found = places(way(), "episode 0")
    assert found[:5] == pytest.approx(np.tile([0.3, 0, 0.02], (5, 1)), abs=0.01)
    assert found[8] == pytest.approx([0.35, 0, 0.15]) and found[12] == pytest.approx(
        [0.4, 0, 0.03]
    )


def test_a_demonstration_without_a_grasp_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="set, episode 3: the gripper closes by 5%"):
        places(way(close=0.95), "set, episode 3")


def shown(count: int = 8) -> ShownThing:
    rng = np.random.default_rng(1)
    return ShownThing(
        rng.integers(0, 255, (count, 96, 96, 3), np.uint8),
        rng.integers(0, 255, (count, 96, 96, 3), np.uint8),
        np.tile(np.array([0.3, 0.0, 0.2, 1.0], np.float32), (count, 1)),
        np.tile(np.array([0.32, 0.05, 0.02], np.float32), (count, 1)),
        np.ones(count, bool),
        np.zeros(count, int),
        ("pick up the white cube",) * count,
    )


def test_features_and_all_other_words_stay_and_a_whole_tower_does_not(
    tiny: Checkpoint, language: Language, tmp_path: Path
) -> None:
    make_frames(tmp_path / "shard_0", "vx300s", 12)
    base, grown = load_frames(tmp_path), with_token(tiny, "white")
    camera, uv = np.eye(3, 4) + [[0, 0, 0, 0.5]] * 3, np.full((8, 2), 0.4)
    more, steps = with_word(language, WHITE), PointSteps(steps=2, batch=2, questions=2)
    learned = learn_word(grown, more, WHITE, shown(), uv, camera, base, None, steps)
    new, old = (c.model.state_dict() for c in (learned, grown))
    changed = {key for key, value in new.items() if not torch.equal(value, old[key])}
    assert all(key.removeprefix("vision.").startswith((*REACH, "embed")) for key in changed)
    assert torch.equal(new["vision.embed.weight"][:-1], old["vision.embed.weight"][:-1])
    assert not torch.equal(new["vision.embed.weight"][-1], old["vision.embed.weight"][-1])
    whole = PointSteps(steps=2, batch=2, questions=2, whole=True)
    free = learn_word(grown, more, WHITE, shown(), uv, camera, base, None, whole)
    stem = "vision.front.stem.0.weight"
    assert not torch.equal(free.model.state_dict()[stem], old[stem])


@pytest.mark.slow
def test_the_second_look_learns_a_class_and_keeps_its_answers_about_base_scenes(
    tiny: Checkpoint,
) -> None:
    base = np.full((12, 96, 96, 3), 90, np.uint8)
    base[:, 20:30, 60:70] = (200, 20, 20)
    front = base.copy()
    front[:, 43:53, 43:53] = 250
    number, cube = np.full(12, WHITE.number), np.zeros(12, int)
    new = Examples(base, front, np.full((12, 2), 0.5), number, cube)
    before = with_class(tiny.naming, "colour")
    tower = tiny.model.vision
    after = learn_to_see(tower, before, new, base, SeeSteps(steps=8, rate=3e-3))

    def places(naming: Naming, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        shown = to_images(images[:1], None)
        with torch.no_grad():
            looked = naming(shown, tower.front.stem(shown))
        return looked[0].softmax(1)[0], looked[1].softmax(1)[0]

    colour, _ = places(after, front)
    assert colour[WHITE.number, 12, 12] > 100 * places(before, front)[0][WHITE.number, 12, 12]
    for now, was in zip(places(after, base), places(before, base), strict=True):
        assert (now - was).abs().mean() < 0.02


def test_sentences_about_the_thing_have_every_form_and_a_known_twin(language: Language) -> None:
    more = with_word(language, WHITE)
    pairs = phrases(
        more, WHITE, {"colour": "white", "shape": "cube"}, 60, np.random.default_rng(0)
    )
    assert len({new.split()[0] for new, _ in pairs}) > 5
    for new, known in pairs:
        assert isinstance(more.read(new), Understood) and isinstance(
            language.read(known), Understood
        )
        assert "white" in new and len(new.split()) == len(known.split())


def test_a_painted_thing_is_named_in_its_new_colour_and_fully_in_its_own(
    language: Language,
) -> None:
    more, rng = with_word(language, WHITE), np.random.default_rng(0)
    pairs = twins(more, WHITE, {"colour": "red", "shape": "cube"}, 40, rng)
    for new, known in pairs:
        (thing,), (own,) = (said.read(s).things for said, s in ((more, new), (language, known)))
        assert thing["colour"] == "white" and own == {"colour": "red", "shape": "cube"}
    nouns = {new.split("white ")[1].split()[0] for new, _ in pairs}
    assert {"cube", "block", "thing"} < nouns and not nouns & {"ball", "can"}


def grasps(folder: Path, *said: str) -> None:
    """Two demonstrations of a grasp, as `vla generate episodes` writes them."""
    make_frames(folder, "vx300s", 26, episodes=True)
    state = np.load(folder / "state.npy")
    for begin in (0, 13):
        state[begin : begin + 13] = np.insert(way(), [3], [0, 1, 0, 0], axis=1)
    np.save(folder / "state.npy", state)
    np.save(folder / "episode.npy", np.arange(26) // 13)
    texts = [[said[i // 13 % len(said)]] * 4 for i in range(26)]
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "meta.json").write_text(json.dumps({"robot": "vx300s", "what": "episodes"}))


@pytest.mark.slow
def test_the_verb_leaves_a_policy_that_reads_the_word_and_a_report(tmp_path: Path) -> None:
    grasps(tmp_path / "set" / "shard_0", "pick up the white cube")
    scenes = tmp_path / "scenes" / "shard_0"
    make_frames(scenes, "vx300s", 60)
    front, xyz = np.full((60, 96, 96, 3), 120, np.uint8), np.load(scenes / "target_xyz.npy")
    front[:, 40:50, 40:50] = (200, 20, 20)
    np.save(scenes / "front.npy", front)
    xyz[:, 0] = (45 / 96 / 1.5, 45 / 96 / 1.5 - 0.3, 0.0)
    np.save(scenes / "target_xyz.npy", xyz)
    uv = np.load(scenes / "front_uv.npy")
    uv[:, :, 0] = (
        1.5 * (xyz[..., [1, 0]] + [0.3, 0.0]) - 0.5 * xyz[..., [2, 2]]
    )  # of a camera above
    np.save(scenes / "front_uv.npy", uv)
    words = ["adapt", "--data", f"{tmp_path / 'set'}", "--base", f"{tmp_path / 'scenes'}"]
    words += ["--out", f"{tmp_path / 'out'}", "--steps", "2", "--trials", "0", "--without"]
    assert main(words) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    learned = report["learned"]["with preservation"]
    assert (learned["word"], learned["kind"], learned["demonstrations"]) == ("white", "colour", 2)
    policy = load_policy(str(tmp_path / "out" / "policy"))
    assert policy.understands("pick up the white ball") is None
    assert policy.checkpoint.naming.config.colours == 7
    assert policy.understanding == load_policy("tiny").understanding
    without = load_policy(str(tmp_path / "out" / "without"))
    assert (
        without.understands("pick up the white ball") is None and without.checkpoint.naming is None
    )
    assert main(words) == 1  # the folder has a policy already
    weights = tmp_path / "out" / "policy" / "model.safetensors"
    learned_ns = weights.stat().st_mtime_ns
    (tmp_path / "out" / "report.json").unlink()  # as if it had been stopped before its end
    assert main([*words[:-4], "3", *words[-3:]]) == 1  # of other words
    assert main(words) == 0 and weights.stat().st_mtime_ns == learned_ns


def test_a_grown_policy_is_saved_and_read_as_it_was(tiny: Checkpoint, tmp_path: Path) -> None:
    grown = with_token(tiny, "white")
    save(tmp_path / "grown", grown)
    again = load_local(str(tmp_path / "grown"), engine="off").checkpoint
    assert torch.equal(pointed(again, *OLD), pointed(tiny, *OLD))
    assert again.tokenizer.token_to_id("white") == tiny.model.config.vocab


@pytest.mark.slow
def test_a_new_task_learns_beside_episodes_of_the_policy_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(policy, robot, out, count, seed, renderer) -> OwnEpisodes:
        grasps(out / "shard_0", OLD[0])
        return OwnEpisodes(count, count)

    made = create_autospec(own_episodes.make_own_episodes, side_effect=write)
    monkeypatch.setattr(own_episodes, "make_own_episodes", made)
    grasps(tmp_path / "set" / "shard_0", "touch the red cube", "touch the blue ball")
    words = ["adapt", "--data", f"{tmp_path / 'set'}", "--out", f"{tmp_path / 'out'}"]
    words += ["--steps", "1", "--trials", "0"]
    assert main(words) == 1  # nothing is replayed
    assert main([*words, "--own", "2"]) == 0
    assert made.call_args.args[3] == 2
    learned = json.loads((tmp_path / "out" / "report.json").read_text())["learned"]
    assert learned["with preservation"]["replay"] == [str(tmp_path / "out" / "own")]
    policy = load_policy(str(tmp_path / "out" / "policy"))
    assert policy.understands("touch the green can") is None
    assert policy.understands(OLD[0]) is None
    assert load_policy("tiny").understands("touch the green can") is not None
