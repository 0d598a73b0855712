"""When a policy is asked again and what its chunk continues: values in, values out."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.embodiment import GroupLimits
from vla_policy.embodiment.layout import JOINTS, ActionPart, Layout
from vla_policy.execution.replanning import NOTHING, Delays
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime import schedule
from vla_policy.runtime.schedule import HEARD_NS, SENT, InferenceConfig, InferenceState
from vla_policy.types import ActionChunk, Observation

MS = 1_000_000
START_NS = 1_000_000 * MS
ONE = Layout(
    ("joint.a",),
    (ActionPart("arm", JOINTS, slice(0, 1), ("joint.a",), GroupLimits(), joints=(0,)),),
)
CONFIG = InferenceConfig(("x",), 150 * MS, 4, 100 * MS, 0, scheme="rtc", layout=ONE)


def seen(at_ms: int, instruction: str = "go") -> Observation:
    image = {"front": np.zeros((2, 2, 3), np.uint8)}
    return Observation(image, np.zeros(1), ("x",), instruction, START_NS + at_ms * MS)


def chunk(sequence: int, at_ms: int, instruction: str = "go") -> ActionChunk:
    rows = np.arange(8.0)[:, None]
    return ActionChunk(rows, ONE.names, START_NS + at_ms * MS, 100 * MS, sequence, instruction)


def followed(at_ms: int = 0, taken_ms: int = 150) -> InferenceState:
    """A chunk of an observation at at_ms that is executed since taken_ms, its rows due on time."""
    asked = schedule.on_requested(InferenceState(delays=Delays(warm_up=0)), seen(at_ms))
    asked = schedule.on_published(asked, chunk(0, at_ms), START_NS + (taken_ms - 10) * MS)
    begin_ns = START_NS + at_ms * MS
    asked, news = schedule.on_accepted(asked, 0, begin_ns, START_NS + taken_ms * MS)
    assert news
    return asked


def is_due(asked: InferenceState, at_ms: int, instruction: str = "go", config=CONFIG) -> bool:
    return schedule.should_infer(asked, config, seen(at_ms, instruction), START_NS + at_ms * MS)


@pytest.mark.parametrize(
    ("at_ms", "instruction", "expected"),
    [(399, "go", False), (400, "go", True), (10, "stay", True), (-1, "go", True)],
)
def test_due_after_the_rows_between_two_looks_or_at_once_if_something_changed(
    at_ms, instruction, expected
):
    assert is_due(followed(), at_ms, instruction) is expected


def test_the_first_observation_is_due():
    assert is_due(InferenceState(), 0)


def test_a_chunk_on_its_way_is_waited_for_but_not_for_ever():
    asked = schedule.on_requested(followed(), seen(400))
    asked = schedule.on_published(asked, chunk(1, 400), START_NS + 850 * MS)
    late = seen(850)
    assert not schedule.should_infer(asked, CONFIG, late, START_NS + 850 * MS + HEARD_NS - 1)
    assert schedule.should_infer(asked, CONFIG, late, START_NS + 850 * MS + HEARD_NS)


def test_the_rows_that_will_have_been_begun_are_frozen_and_the_rest_guides():
    # Taken 150 ms after its observation: the next one is expected to be as late, so two rows are frozen.
    found = schedule.continuation(followed(), CONFIG, seen(400), rows=8, continues=True)
    assert (found.frozen_rows, found.guidance_rows) == (2, 4)
    np.testing.assert_allclose(found.previous.actions[:, 0], [4.0, 5.0, 6.0, 7.0])


@pytest.mark.parametrize(
    ("change", "frozen", "guided"), [("flush", 0, 0), ("blend", 2, 2)], ids=["flush", "blend"]
)
def test_a_new_instruction_is_not_guided_by_the_plan_of_the_old_one(change, frozen, guided):
    config = replace(CONFIG, change=change)
    observation = seen(400, "stay")
    found = schedule.continuation(followed(), config, observation, rows=8, continues=True)
    assert (found.frozen_rows, found.guidance_rows) == (frozen, guided)
    assert schedule.change(followed(), config, observation) == change
    assert schedule.change(followed(), config, seen(400)) == ""


def test_nothing_is_continued_that_cannot_be_or_is_not_executed():
    able = {"rows": 8, "continues": True}
    asked = followed()
    cases = (
        (asked, CONFIG, {"rows": 8, "continues": False}),
        (asked, replace(CONFIG, scheme="receding"), able),
        (asked, replace(CONFIG, layout=None), able),
        (schedule.not_executing(asked), CONFIG, able),
        (schedule.on_published(asked, chunk(1, 100), START_NS), CONFIG, able),
    )
    for before, config, policy in cases:
        assert schedule.continuation(before, config, seen(400), **policy) == NOTHING


def test_candidates_are_compared_with_the_plan_that_nothing_continues():
    config = replace(CONFIG, scheme="receding", options=InferenceOptions(candidates=3))
    asked, policy = followed(), {"rows": 8, "continues": False}
    found = schedule.continuation(asked, config, seen(400), **policy)
    assert (found.frozen_rows, found.guidance_rows) == (0, 0)
    np.testing.assert_allclose(found.previous.actions[:, 0], [4.0, 5.0, 6.0, 7.0])
    assert found.previous.obs_ns == seen(400).obs_ns
    # Not with that of another instruction, with none, or with one whose rows are not executed as they are.
    for before, other, at in (
        (asked, config, seen(400, "stay")),
        (asked, config, seen(900)),
        (asked, replace(config, layout=None), seen(400)),
        (schedule.not_executing(asked), config, seen(400)),
    ):
        assert schedule.continuation(before, other, at, **policy).previous is None


def test_word_of_a_chunk_of_somebody_else_ends_what_is_executing():
    asked, news = schedule.on_accepted(followed(), 77, START_NS, START_NS)
    assert asked.executing is None and not news


def test_only_the_last_chunks_are_kept_and_the_delay_outlives_a_new_beginning():
    asked = followed()
    for number in range(1, SENT + 3):
        asked = schedule.on_published(asked, chunk(number, 100 * number), START_NS)
    assert [c.sequence for c in asked.sent] == list(range(3, SENT + 3))
    assert schedule.reset(asked) == InferenceState(delays=asked.delays)
    assert asked.delays.expected_ns is not None


@pytest.mark.parametrize("scheme", ["receding", "open_loop", "rtc"])
def test_handed_back_the_first_observation_after_the_button_is_due(scheme):
    config = replace(CONFIG, scheme=scheme)
    asked = schedule.look_again(followed(), config, START_NS + 200 * MS)
    assert asked.executing is None
    assert not is_due(asked, 199, config=config)
    assert is_due(asked, 200, config=config)


def test_handed_back_before_anything_was_asked_nothing_changes():
    assert schedule.look_again(InferenceState(), CONFIG, START_NS) == InferenceState()
