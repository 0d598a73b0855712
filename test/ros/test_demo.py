"""What `vla demo` shows: scenes that have what is named, and other words for the policy than physics judges by."""

import pytest

pytest.importorskip("rclpy")

from vla_policy.commands.demo import OTHER_WORDS, TASKS, chosen_tasks
from vla_policy.policy import load_local
from vla_policy.sim.scenes.scene import sample_scene
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.types import Reason


def test_every_task_has_its_thing_in_its_scene() -> None:
    tasks, split = chosen_tasks("", 0, policy="small")
    assert [task.instruction for task in tasks] == [*TASKS, OTHER_WORDS["small"][0]]
    for task in tasks:
        parse_task(task.instruction, sample_scene(task.seed, split=split))


def test_only_a_policy_that_reads_them_is_told_other_words() -> None:
    assert {task.said for task in chosen_tasks("", 0)[0]} == {None}
    said = chosen_tasks("", 0, policy="small")[0][-1].said
    language = load_local("tiny", embodiment="vx300s").checkpoint.language
    assert language is not None and said == OTHER_WORDS["small"][1]
    assert isinstance(language.read(said), Reason)  # no robot data has this sentence


def test_what_is_said_needs_an_instruction_to_be_judged_by() -> None:
    tasks, _ = chosen_tasks("pick up the red cube", 0, "heb den roten Würfel hoch")
    assert [(t.instruction, t.said) for t in tasks] == [("pick up the red cube", "heb den roten Würfel hoch")]  # fmt: skip
    with pytest.raises(ValueError, match="--say: got 'prends' alone, expected the instruction"):
        chosen_tasks("", 0, "prends")
