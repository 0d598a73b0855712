"""What a page may ask for over its control link: carried out, refused or given up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest
from web_client import PATIENCE_S
from web_site import answered, asked, linked

from vla_policy.web import control_link, request_queue
from vla_policy.web.control_link import BEATS_KEPT, FRESH_S, Beats
from vla_policy.web.panel import Answer


def test_each_request_reaches_its_action(site):
    for verb, name, arguments in (
        ("stop", "stop", ()),
        ("reset", "reset", ()),
        ("engage", "engage", (True,)),
        ("disengage", "engage", (False,)),
    ):
        assert asked(site, verb)["ok"]
        getattr(site.robot, name).assert_called_with(*arguments)
    answer = asked(site, "say", "pick up the red cube\n")
    site.robot.say.assert_called_once_with("pick up the red cube")
    assert answer["ok"] and answer["about"] == "goal 7"


@pytest.mark.parametrize("words", ["stop", "STOP " * 60, "stop\nplease", "\u200bstop"])
def test_a_word_to_stop_is_passed_on_however_it_is_written_and_however_late(
    site, words, monkeypatch
):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    assert asked(site, "say", words)["ok"]
    site.robot.say.assert_called_once_with(words.strip())


def test_a_refused_request_is_told_with_its_sentence(site):
    site.robot.engage.side_effect = lambda engaged: answered(Answer(False, "front is stale"))
    assert asked(site, "engage") == {
        "id": 1,
        "ok": False,
        "message": "front is stale",
        "about": "",
    }


def test_an_action_that_raises_is_told(site):
    site.robot.reset.side_effect = RuntimeError("no such thing")
    answer = asked(site, "reset")
    assert not answer["ok"] and "RuntimeError: no such thing" in answer["message"]


@pytest.mark.parametrize("words", ["", "   ", "x" * 201, "pick\nup", "pick\0", "123"])
def test_what_is_no_instruction_is_not_said(site, words):
    assert not asked(site, "say", words)["ok"]
    site.robot.say.assert_not_called()


@pytest.mark.parametrize(
    "text", ["", "null", "[1]", "{", '{"ask": "dance"}', '{"ask": "say", "words": 7}', "[" * 3000]
)
def test_what_is_no_request_is_refused_and_the_link_stays(site, text):
    async def run():
        async with linked(site, "/control") as link:
            await link.socket.send_str(text)
            refused = await link.next()
            return refused, await link.ask("stop")

    refused, stopped = asyncio.run(run())
    assert not refused["ok"] and stopped["ok"]
    site.robot.say.assert_not_called()


def test_a_request_counts_as_old_when_its_beat_is():
    beats = Beats()
    number = beats.beat(100.0)
    assert beats.refuse(number, 100.0 + FRESH_S) is None
    assert "2.5 s" in beats.refuse(number, 102.5)
    assert "unknown" in beats.refuse(number + 1, 100.0)
    for late in (None, "1", True, 0, -1):
        assert beats.refuse(late, 100.0)
    for _ in range(BEATS_KEPT):
        beats.beat(100.1)
    assert "unknown" in beats.refuse(number, 100.1)


@pytest.mark.parametrize("verb", ["say", "engage", "reset"])
def test_a_request_that_was_held_up_is_not_carried_out(site, verb, monkeypatch):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    answer = asked(site, verb, "pick up the cube")
    assert not answer["ok"] and "not carried out" in answer["message"]
    assert site.robot.mock_calls == []


@pytest.mark.parametrize("verb", ["stop", "disengage"])
def test_what_ends_motion_is_never_too_old(site, verb, monkeypatch):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    assert asked(site, verb)["ok"]


def test_an_action_without_an_answer_is_given_up_and_knows_it(site, monkeypatch):
    monkeypatch.setattr(request_queue, "ANSWER_S", 0.1)
    waiting: Future[Answer] = Future()
    site.robot.say.side_effect = lambda words: waiting
    assert asked(site, "say", "go") == {
        "id": 1,
        "ok": False,
        "message": "no answer in 0.1 s",
        "about": "",
    }
    assert waiting.cancelled()


def test_an_action_that_has_not_begun_when_it_is_given_up_never_begins(site, monkeypatch):
    monkeypatch.setattr(request_queue, "ANSWER_S", 0.1)
    blocked = threading.Event()
    site.robot.engage.side_effect = lambda engaged: (
        blocked.wait(PATIENCE_S) and answered(Answer(True, ""))
    )

    async def run():
        async with linked(site, "/control") as link:
            for number in (1, 2, 3):  # as many as there are threads, and one more
                assert not (await link.ask("engage", number=number))["ok"]
            blocked.set()
            while not (await link.ask("reset", number=4))["ok"]:
                await asyncio.sleep(0.02)

    asyncio.run(run())
    assert site.robot.engage.call_count == 2
