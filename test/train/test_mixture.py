"""Which samples a run sees: as often as stated, the same whoever asks, nothing twice but by chance."""

import itertools
import json

import cv2
import numpy as np
import pytest
from training_sets import arm_set, contract_for

from vla_policy.families.training import Demonstration, Question
from vla_policy.train.mixture import Entry, Mixture
from vla_policy.train.questions import PointingQuestion, Questions
from vla_policy.train.training_set import open_training_set


class Numbered:
    """A source whose samples are questions that say which they are."""

    def __init__(self, label: str, count: int) -> None:
        self.label, self._count = label, count

    def __len__(self) -> int:
        return self._count

    def where(self, index: int) -> str:
        return f"{self.label} {index}"

    def sample(self, index: int, rng=None) -> Question:
        return Question((), self.where(index), f"{rng.random()}", self.label)


def mixture(seed=3, share=0.7, **more) -> Mixture:
    robots = [Entry(Numbered("large", 10_000)), Entry(Numbered("small", 100))]
    web = [Entry(Numbered("vqa", 500), 3.0), Entry(Numbered("captions", 50), 1.0)]
    return Mixture(robots, web, seed=seed, robot_share=share, **more)


def test_sources_are_drawn_as_often_as_stated():
    made, count = mixture(), 20_000
    sizes = np.array([10_000, 100]) ** 0.43
    expected = np.array([*(0.7 * sizes / sizes.sum()), 0.3 * 0.75, 0.3 * 0.25])
    assert made.probabilities == pytest.approx(expected)
    drawn = np.bincount([made.chosen(p)[0] for p in range(count)], minlength=4) / count
    assert (np.abs(drawn - expected) < 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_within_a_set_every_sample_is_as_likely_and_repeats_are_chance():
    made = Mixture([Entry(Numbered("one", 1000))], seed=0)
    drawn = [made.chosen(p)[1] for p in range(20_000)]
    counts = np.bincount(drawn, minlength=1000)
    chi = ((counts - 20) ** 2 / 20).sum()
    assert abs(chi - 999) < 5 * np.sqrt(2 * 999)
    repeats = sum(a == b for a, b in itertools.pairwise(drawn))
    assert repeats < 20 + 5 * np.sqrt(20)  # a thousandth of the neighbours


def test_a_sample_depends_on_seed_and_number_alone():
    made, again = mixture(), mixture()
    backwards = {p: again.sample(p) for p in reversed(range(60))}
    assert all(made.sample(p) == backwards[p] for p in range(60))
    assert made.sample(5).where == made.where(5)
    other = mixture(seed=4)
    assert sum(made.sample(p) == other.sample(p) for p in range(60)) == 0
    seeds = {made.sample(p).seed for p in range(60)}
    assert len(seeds) == 60 and all(0 <= s < 2**62 for s in seeds)


def test_two_processes_see_together_what_one_sees():
    made, batch = mixture(), 4
    one = [made.where(p) for p in range(10 * batch)]
    two = [[], []]
    for number in range(10):
        two[number % 2] += [made.where(number * batch + i) for i in range(batch)]
    assert sorted(one) == sorted([*two[0], *two[1]])


@pytest.mark.parametrize(
    ("robots", "web", "share", "says"),
    [
        (0, 0, None, "got no data set"),
        (1, 1, None, "robot_share: got none"),
        (1, 0, 0.5, "robot_share: got 0.5, expected a share that fits 1 robot sets and 0 of questions"),
        (0, 1, 0.5, "robot_share: got 0.5"),
        (1, 1, 1.5, "robot_share: got 1.5"),
    ],
)  # fmt: skip
def test_a_mixture_that_cannot_be_is_refused(robots, web, share, says):
    entries = [Entry(Numbered("a", 3))] * robots, [Entry(Numbered("b", 3))] * web
    with pytest.raises(ValueError, match=says):
        Mixture(*entries, seed=0, robot_share=share)


def test_weights_and_empty_sources_are_refused():
    for weight in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="weight of a: got"):
            Entry(Numbered("a", 3), weight)
    with pytest.raises(ValueError, match="a: got no samples"):
        Entry(Numbered("a", 0))


def web_file(folder, *rows):
    cv2.imwrite(str(folder / "cat.png"), np.full((20, 30, 3), (10, 20, 200), np.uint8))
    path = folder / "web.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_robot_samples_and_the_kinds_of_questions_come_from_files(tmp_path):
    path = web_file(
        tmp_path,
        {"image": "cat.png", "question": "What is it?", "answer": "a cat"},
        {"images": ["cat.png", "cat.png"], "caption": "two cats"},
        {"image": "cat.png", "point_at": "the ear", "point": [0.25, 0.5]},
        {"image": "cat.png", "point_at": "the eyes", "points": [[0, 0], [1, 1]]},
    )
    web = Questions(path)
    asked, caption, ear, eyes = (web.sample(i) for i in range(4))
    assert (asked.text, asked.answer, asked.source) == ("What is it?", "a cat", "web")
    assert asked.images[0].shape == (20, 30, 3) and asked.images[0][0, 0].tolist() == [200, 20, 10]
    assert len(caption.images) == 2 and caption.answer == "two cats"
    assert ear.question().answer == "<loc0512><loc0256>"
    assert eyes.question().answer == "<loc0000><loc0000> ; <loc1023><loc1023>"
    assert web.where(2) == "web.jsonl, line 3"
    data = open_training_set(arm_set(tmp_path / "set", (3,)), contract_for(), rows=2)
    made = Mixture([Entry(data)], [Entry(web)], seed=0, robot_share=0.5)
    kinds = {type(made.sample(p).value) for p in range(20)}
    assert kinds == {Demonstration, Question}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "a", "answer": "b"}, "web.jsonl:2: got no or two of image and images"),
        ({"image": "dog.png", "caption": "a"}, "web.jsonl:2: image 'dog.png': no such file"),
        ({"image": "../cat.png", "caption": "a"}, "web.jsonl:2: image '../cat.png': no such"),
        ({"image": "cat.png", "caption": " "}, "web.jsonl:2: caption: got ' ', expected text"),
        ({"image": "cat.png", "answer": "b"}, "web.jsonl:2: got answer beside it, expected question and answer"),
        ({"image": "cat.png", "point_at": "a", "point": [3, 0]}, r"points: got \[\[3, 0\]\], expected \[x, y\] from 0"),
    ],
)  # fmt: skip
def test_lines_that_are_no_question_are_refused(tmp_path, row, says):
    with pytest.raises(ValueError, match=says):
        Questions(web_file(tmp_path, {"image": "cat.png", "caption": "a cat"}, row))


def test_points_outside_an_image_are_refused():
    with pytest.raises(ValueError, match="expected 0 to 1"):
        PointingQuestion((), "a", np.array([[0.5, 1.1]]))
