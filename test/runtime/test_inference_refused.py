"""When no chunk is made: sentences not understood, objects not seen, a policy without an answer."""

from __future__ import annotations

import time

from inference_bench import Bench, wait_for

from vla_policy.runtime.inference import MAX_FAILURES
from vla_policy.runtime.policy_protocol import Unavailable
from vla_policy.types import QUESTION, Reason


def test_words_that_are_not_understood_make_no_chunk():
    bench = Bench()
    bench.policy.understands.return_value = Reason("words", "this policy does not know 'banana'")
    bench.inference.set_instruction("eat the banana")
    for at_ms in range(0, 500, 100):
        bench.show(at_ms)
    assert bench.refusals == [("eat the banana", "words")]
    assert bench.inference.refusal()[1].code == "words"
    time.sleep(0.1)
    assert bench.chunks == []
    bench.policy.infer_chunk.assert_not_called()
    answer = bench.inference.request("eat the banana")
    assert isinstance(answer, Reason) and answer.code == "refused" and "banana" in answer.detail
    bench.policy.understands.return_value = None
    bench.inference.set_instruction("lift")
    assert bench.inference.refusal() is None
    bench.show(600)
    assert wait_for(lambda: bench.chunks)
    bench.inference.close()


def test_what_is_not_seen_in_three_pictures_is_refused_before_any_chunk():
    bench = Bench(look_first=True)
    bench.policy.sees.return_value = Reason("not_seen", "no purple ball is to be seen")
    bench.inference.set_instruction("lift the purple ball")
    for at_ms in range(0, 600, 100):
        bench.show(at_ms)
        wait_for(lambda at_ms=at_ms: bench.policy.sees.call_count > min(at_ms // 100, 2), 1.0)
    assert wait_for(lambda: bench.refusals)
    assert bench.refusals == [("lift the purple ball", "not_seen")]
    assert bench.policy.sees.call_count == 3
    assert bench.chunks == []
    bench.inference.close()


def test_what_comes_into_view_is_followed_after_three_pictures_that_show_it():
    bench = Bench(look_first=True)
    missing = Reason("not_seen", "no purple ball is to be seen")
    bench.policy.sees.side_effect = [missing, None, None, None]
    bench.inference.set_instruction("lift the purple ball")
    for look in range(4):
        assert bench.chunks == []
        bench.show(100 * look)
        assert wait_for(lambda looks=look + 1: bench.policy.sees.call_count == looks)
    assert wait_for(lambda: bench.chunks)
    bench.show(1000)
    assert wait_for(lambda: len(bench.chunks) == 2)
    assert bench.refusals == []
    assert bench.policy.sees.call_count == 4  # not again while it is followed
    bench.inference.close()


def test_one_picture_that_shows_it_among_others_that_do_not_moves_nothing():
    bench = Bench(look_first=True)
    missing = Reason("not_seen", "no cube is to be seen")
    bench.policy.sees.side_effect = [missing, None, missing, None, None, missing]
    bench.inference.set_instruction("lift the cube")
    for look in range(6):
        bench.show(100 * look)
        assert wait_for(lambda looks=look + 1: bench.policy.sees.call_count == looks)
    assert wait_for(lambda: bench.refusals)
    assert bench.refusals == [("lift the cube", "not_seen")]
    assert bench.chunks == []
    bench.inference.close()


def test_no_answer_is_no_failure_and_the_next_observation_is_tried(bench):
    """A server that is lost for long: the thread goes on, and a chunk comes with the first look after it."""
    lost = True

    def infer(observation, previous, options):
        if lost:
            raise Unavailable("ws://gpu:8000/: no connection")
        return bench.answer(observation, previous, options)

    bench.policy.infer_chunk.side_effect = infer
    bench.inference.set_instruction("go")
    for at_ms in range(0, 100 * (MAX_FAILURES + 3), 100):  # each observation, not only one in four
        calls = bench.policy.infer_chunk.call_count
        bench.show(at_ms)
        assert wait_for(lambda n=calls: bench.policy.infer_chunk.call_count == n + 1)
    assert wait_for(lambda: bench.reason() == "unavailable")
    status = bench.inference.status()
    assert (status.failures, status.stopped, bench.errors) == (0, False, [])
    assert "no connection" in bench.inference.request("go").detail
    lost = False
    bench.show(at_ms + 100)
    assert wait_for(lambda: len(bench.chunks) == 1)


def test_a_look_that_nobody_answered_is_no_look():
    bench = Bench(look_first=True)
    bench.policy.sees.side_effect = Unavailable("gone")
    bench.inference.set_instruction("go")
    for at_ms in range(0, 800, 100):
        calls = bench.policy.sees.call_count
        bench.show(at_ms)
        # At least once: what was not looked at is asked for again.
        assert wait_for(lambda n=calls: bench.policy.sees.call_count > n)
    assert wait_for(lambda: bench.reason() == "unavailable")
    assert bench.refusals == [] and bench.chunks == []
    bench.policy.sees.side_effect = None
    for at_ms in range(800, 1100, 100):
        calls = bench.policy.sees.call_count
        bench.show(at_ms)
        assert wait_for(lambda n=calls: bench.policy.sees.call_count > n)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.close()


def test_a_refusal_that_is_raised_is_a_refusal():
    """As a server's policy raises it: the request has an answer, and the operator hears why nothing moves."""
    bench = Bench(look_first=True)
    bench.policy.understands.side_effect = ValueError("what is 'dance'?")
    bench.inference.set_instruction("dance")
    assert bench.refusals == [("dance", "refused")]
    bench.show(0)
    answer = bench.inference.request("dance")
    assert isinstance(answer, Reason) and answer.code == "refused" and "dance" in answer.detail
    bench.policy.understands.side_effect = None
    bench.policy.sees.side_effect = ValueError("no such camera there")
    answer = bench.inference.request("dance")
    assert isinstance(answer, Reason) and answer.code == "refused" and "camera" in answer.detail
    bench.policy.sees.side_effect = RuntimeError("broken")
    answer = bench.inference.request("dance")
    assert isinstance(answer, Reason) and answer.code == "failed" and len(bench.errors) == 1
    bench.policy.sees.side_effect = ValueError("no such camera there")
    bench.inference.set_instruction("lift")
    for at_ms in range(100, 700, 100):
        calls = bench.policy.sees.call_count
        bench.show(at_ms)
        wait_for(lambda n=calls: bench.policy.sees.call_count > n, 1.0)
    assert wait_for(lambda: ("lift", "refused") in bench.refusals)
    assert bench.chunks == [] and len(bench.errors) == 1
    bench.inference.close()


def asking(answer) -> Bench:
    bench = Bench()
    bench.policy.understands.side_effect = lambda said: (
        Reason(QUESTION, "a question") if said.endswith("?") else None
    )
    bench.policy.can_answer = True
    bench.policy.ask.side_effect = answer
    return bench


def test_a_question_is_answered_in_words_and_makes_no_chunk():
    bench = asking(lambda observation, question: f"no {question}")
    bench.inference.set_instruction("a cube?")
    assert bench.refusals == [] and bench.inference.refusal() is None  # it was not looked yet
    for at_ms in range(0, 400, 100):
        bench.show(at_ms)
        wait_for(lambda: bench.refusals)
    assert bench.refusals == [("a cube?", QUESTION)]
    assert bench.inference.refusal()[1].detail == "no a cube?"
    bench.policy.ask.assert_called_once()
    bench.policy.infer_chunk.assert_not_called()
    assert "refuses" in bench.inference.request("a cube?").detail
    bench.inference.set_instruction("lift")
    bench.show(500)
    assert wait_for(lambda: bench.chunks)
    assert {chunk.instruction for chunk in bench.chunks} == {"lift"}
    bench.inference.close()


def test_a_question_without_an_answer_moves_nothing_either():
    bench = asking(Unavailable("gone"))
    bench.inference.set_instruction("a cube?")
    bench.show(0)
    assert wait_for(lambda: bench.reason() == "unavailable")
    for at_ms, (error, code) in enumerate(
        ((ValueError("not that"), "refused"), (RuntimeError("broken"), "failed"))
    ):
        bench.policy.ask.side_effect = error
        bench.inference.set_instruction(f"a {code} cube?")
        bench.show(100 + 100 * at_ms)
        assert wait_for(lambda code=code: bench.refusals[-1:] == [(f"a {code} cube?", code)])
    assert len(bench.errors) == 1 and "broken" in bench.errors[0]
    bench.policy.can_answer = False
    bench.inference.set_instruction("a ball?")
    assert bench.refusals[-1] == ("a ball?", QUESTION)
    bench.policy.infer_chunk.assert_not_called()
    bench.inference.close()


def test_an_answer_to_a_question_that_was_taken_back_is_not_told():
    bench = asking(None)

    def answer(observation, question):
        bench.inference.set_instruction("lift")
        return "yes"

    bench.policy.ask.side_effect = answer
    bench.inference.set_instruction("a cube?")
    bench.show(0)
    assert wait_for(lambda: bench.policy.ask.call_count)
    bench.show(100)
    assert wait_for(lambda: bench.chunks)
    assert bench.refusals == [] and bench.inference.refusal() is None
    bench.inference.close()
