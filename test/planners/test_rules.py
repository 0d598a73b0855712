"""The planner that uses only what a policy sees, on tables that the test makes."""

from dataclasses import replace

import pytest
from table_policy import PAD, TRAY, TablePolicy, observation

from vla_policy.planners import rules, table
from vla_policy.planners.rules import Goal, next_step, read_goal
from vla_policy.runtime.planning import Answered, Attempt, PlanRequest
from vla_policy.runtime.policy_protocol import PlainContract, PlainPolicy


def scene():
    return TablePolicy(
        red_cube=(0.20, 0.0, 0.02), red_ball=(0.40, 0.0, 0.02), blue_cylinder=(0.42, 0.15, 0.02)
    )


def carried_out(policy, instruction, *, fails=(), most=12):
    """The sub-tasks until the planner ends it, and its last answer. fails: numbers of those without effect."""
    request, told = PlanRequest(instruction), []
    for number in range(most):
        answer = next_step(request, policy, observation(instruction))
        known = {line.partition(":")[0] for line in request.seen}
        seen = (*request.seen, *(x for x in answer.seen if x.partition(":")[0] not in known))
        request = replace(request, seen=seen)
        if answer.kind is not Answered.NEXT:
            return told, answer
        told.append(answer.text)
        if number not in fails:
            policy.obey(answer.text)
        how = "TIMEOUT" if number in fails else "DONE"
        request = replace(request, done=(*request.done, Attempt(answer.text, how, "")))
    return told, None


@pytest.mark.parametrize(
    ("said", "goal"),
    [
        ("Clear the table, please!", Goal("clear")),
        ("clean up", Goal("clear")),
        ("tidy everything away", Goal("clear")),
        ("put everything in the tray", Goal("gather", ("tray",))),
        ("Put all of the red things onto the pad.", Goal("gather", ("pad", "red"))),
        ("move every ball to the tray", Goal("gather", ("tray", "ball"))),
        ("sort the blocks by colour", Goal("sort", ("colour",))),
        ("sort by shape", Goal("sort", ("shape",))),
        ("swap the cube and the ball", Goal("swap", ("cube", "ball"))),
        ("exchange the red cube with the blue ball", Goal("swap", ("red cube", "blue ball"))),
        ("lift the cube, then push the ball to the pad", Goal("then", ("lift the cube", "push the ball to the pad"))),
        ("pick up the red cube", None),
        ("put the red cube in the tray", None),
        ("pick up the red cube and then put it in the tray", None),
        ("put everything edible in the tray", None),
        ("clear your mind", None),
        ("", None),
    ],
)  # fmt: skip
def test_which_instructions_are_long(said, goal):
    assert read_goal(said) == goal


def test_an_instruction_that_is_not_long_is_followed_as_it_is():
    answer = next_step(PlanRequest("pick up the red cube"), scene(), observation())
    assert answer.kind is Answered.DIRECT


def test_everything_goes_into_the_tray_one_after_the_other():
    told, last = carried_out(scene(), "put everything in the tray")
    assert sorted(told) == sorted(table.put(n, "tray") for n in scene().things)
    assert last.kind is Answered.FINISHED and "the red cube" in last.text
    assert set(last.seen) == {f"{name}: tray" for name in scene().things}


def test_what_did_not_get_there_is_tried_after_the_others_by_way_of_the_hand():
    told, last = carried_out(scene(), "put everything in the tray", fails=(0,))
    assert told[0] == told[4] and told[3] == "pick up the red cube" and len(told) == 5
    assert last.kind is Answered.FINISHED


def test_only_what_is_named_is_gathered():
    told, last = carried_out(scene(), "put all the red things on the pad")
    assert sorted(told) == ["put the red ball on the pad", "put the red cube on the pad"]
    _, last = carried_out(scene(), "put all the green balls on the pad")
    assert last.kind is Answered.CANNOT and "green" in last.text


def test_a_table_is_cleared_by_another_place_where_the_first_did_not_work():
    told, last = carried_out(scene(), "clear the table", fails=(0,))
    assert told[0].endswith("tray") and told[1] == told[0].replace("in the tray", "on the pad")
    assert last.kind is Answered.FINISHED


def test_things_are_sorted_by_colour_the_larger_group_into_the_tray():
    told, last = carried_out(scene(), "sort the things by colour")
    assert sorted(told) == [
        "put the blue cylinder on the pad", "put the red ball in the tray", "put the red cube in the tray",
    ]  # fmt: skip
    assert last.kind is Answered.FINISHED


def test_two_things_change_places():
    policy = TablePolicy(red_cube=TRAY, blue_ball=PAD, green_cube=(0.42, 0.0, 0.02))
    told, last = carried_out(policy, "swap the red cube and the ball")
    assert told == ["put the blue ball in the tray", "put the red cube on the pad"]
    assert last.kind is Answered.FINISHED


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("swap the cube and the ball", "more than one cube"),
        ("swap the cylinder and the ball", "no cylinder"),
        ("swap the red cube and the green cube", "in the tray or on the pad alone"),
    ],
)
def test_what_cannot_be_swapped_is_said_before_anything_moves(instruction, words):
    policy = TablePolicy(red_cube=TRAY, blue_ball=PAD, green_cube=(0.42, 0.0, 0.02))
    told, last = carried_out(policy, instruction)
    assert (told, last.kind) == ([], Answered.CANNOT) and words in last.text


def test_parts_are_done_in_turn_and_one_that_is_given_up_ends_it():
    request = PlanRequest("lift the red cube, then lift the red ball")
    assert next_step(request, scene(), observation()).text == "lift the red cube"
    request = replace(request, done=(Attempt("lift the red cube", "DONE", ""),))
    assert next_step(request, scene(), observation()).text == "lift the red ball"
    given_up = replace(request, given_up=("lift the red ball",))
    assert next_step(given_up, scene(), observation()).kind is Answered.CANNOT
    request = replace(request, done=(*request.done, Attempt("lift the red ball", "DONE", "")))
    assert next_step(request, scene(), observation()).kind is Answered.FINISHED


def test_what_is_given_up_is_not_tried_again_and_is_said():
    policy, told = scene(), "put the red cube in the tray"
    policy.things = {"red cube": policy.things["red cube"]}
    request = PlanRequest("put everything in the tray", given_up=(told,))
    answer = next_step(request, policy, observation())
    assert answer.kind is Answered.CANNOT and "the red cube" in answer.text


def test_what_is_near_the_base_goes_first_before_the_arm_hides_it():
    told, _ = carried_out(scene(), "put everything in the tray")
    assert [words.split()[3] for words in told] == ["cube", "ball", "cylinder"]


def test_what_is_hidden_counts_as_put_away_if_that_was_reported_and_is_tried_else():
    policy = scene()
    seen = tuple(f"{name}: table" for name in policy.things)
    red, ball, blue = (table.put(name, "tray") for name in policy.things)
    policy.things = {"red cube": (0.30, -0.10, 0.0)}
    done = (
        Attempt(red, "DONE", ""),
        Attempt(ball, "REFUSED", "not seen"),
        Attempt(blue, "DONE", ""),
    )
    request = PlanRequest("put everything in the tray", done, seen=seen)
    aside = "put the red cube on the pad"
    assert next_step(request, policy, observation()).text == aside, "the arm goes elsewhere"
    request = replace(request, done=(*done, Attempt(aside, "TIMEOUT", "")))
    assert next_step(request, policy, observation()).text == ball
    request = replace(request, given_up=(ball,))
    answer = next_step(request, policy, observation())
    assert answer.kind is Answered.CANNOT and answer.text.startswith("the red ball")


def test_an_empty_table_is_said():
    answer = next_step(PlanRequest("clear the table"), TablePolicy(), observation())
    assert answer.kind is Answered.CANNOT and "nothing" in answer.text


def test_two_names_of_one_thing_are_one_thing_and_the_known_name_counts():
    policy = TablePolicy(red_cube=(0.4, 0.0, 0.0), red_ball=(0.405, 0.0, 0.0))
    assert [t.name for t in table.look(policy, observation())] == ["red cube"]
    known = table.look(policy, observation(), ("red ball: table",))
    assert [t.name for t in known] == ["red ball"]


class Credulous(TablePolicy):
    """Takes everything to be there."""

    def sees(self, observation):
        return None

    def point(self, observation):
        return {"target_xyz": [0.4, 0, 0], "destination_xyz": [0.3, 0, 0]}


class Blind(PlainPolicy):
    rows, contract = 1, PlainContract((), ())


@pytest.mark.parametrize(
    "policy", [Credulous(), Blind()], ids=["sees everything", "does not point"]
)
def test_a_policy_that_cannot_tell_what_is_there_is_no_planner(policy):
    with pytest.raises(ValueError, match="cannot tell"):
        next_step(PlanRequest("clear the table"), policy, observation())
    assert rules.next_step(PlanRequest("lift it"), policy, observation()).kind is Answered.DIRECT
