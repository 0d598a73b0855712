"""Answers of language models, good and hostile."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_policy.runtime import planning
from vla_policy.runtime.instruction import refuse_instruction
from vla_policy.runtime.planning import Answered, PlanAnswer, read_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"next": " put it away "}', PlanAnswer(Answered.NEXT, "put it away")),
        ('```json\n{"finished": "all\\nis done"}\n```', PlanAnswer(Answered.FINISHED, "all is done")),
        ('{"cannot": ""}', PlanAnswer(Answered.CANNOT, "no reason given")),
    ],
)  # fmt: skip
def test_answers(text, expected):
    assert read_answer(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "put the cube away",
        "[" * 100_000,
        "null",
        '["next"]',
        '{"next": "a", "finished": "b"}',
        '{"next": ["put it away"]}',
        '{"next": null}',
        '{"NEXT": "put it away"}',
        '{"engage": true}',
        '{"next": ""}',
        '{"next": "' + "x" * 201 + '"}',
        '{"next": "put it\\u001b[2J away"}',
        '{"next": "put it away", "speed": 9}',
        '{"next": "put\\u202eit away"}',
    ],
)
def test_what_is_no_answer_is_refused_in_one_short_line(text):
    with pytest.raises(ValueError, match="planner") as refused:
        read_answer(text)
    line = str(refused.value)
    assert "\n" not in line and "\x1b" not in line and len(line) < 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9) | st.sampled_from(["next", "finished", "cannot"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=400) | JSON.map(json.dumps) | st.text(max_size=300).map(lambda t: json.dumps({"next": t})))  # fmt: skip
def test_whatever_is_answered_is_an_instruction_a_short_line_or_refused(text):
    try:
        answer = read_answer(text)
    except ValueError:
        return
    assert len(answer.text) <= planning.MAX_SENTENCE
    if answer.kind is Answered.NEXT:
        assert refuse_instruction(answer.text) is None
    else:
        assert answer.text.isprintable() and answer.text


@settings(deadline=None)
@given(st.text(max_size=2000))
def test_a_sentence_is_one_printable_line(text):
    line = planning.sentence(text)
    assert len(line) <= planning.MAX_SENTENCE and line == line.strip()
    assert all(c == " " or c.isprintable() for c in line)


@settings(deadline=None)
@given(st.sampled_from(["DONE", "TIMEOUT"]), st.text(max_size=50))
def test_an_attempt_is_read_as_it_was_told(outcome, message):
    attempt = planning.Attempt("put it away", outcome, message)
    assert planning.attempt_of(attempt.subtask, planning.told(attempt)) == attempt
