"""What rooms add to the page: more verbs with details, and the motion of a hand, which is never carried out late."""

from __future__ import annotations

import asyncio
import json

import pytest
from web_site import Site, answered, linked

from vla_policy.web import control_link
from vla_policy.web.panel import Answer, Deed

TWIST = {"hand": "a", "twist": [1, 0, 0, 0, 0, 0]}


@pytest.fixture
def equipped():
    """A page with a verb that moves, one that does not, one that refuses, and a hand."""
    done = []

    def run(verb):
        return lambda details: done.append((verb, dict(details))) or answered(Answer(True, verb))

    def refuse(details):
        raise ValueError("num_steps: got 'x', expected a int")

    def drive(details):
        done.append(("drive", dict(details)))
        return "another page drives" if details.get("hand") == "b" else None

    more = {"set": Deed(run("set")), "record_end": Deed(run("record_end"), moves=False)}
    made = Site(more={**more, "bad": Deed(refuse)}, drive=drive)
    made.done = done
    yield made
    made.server.close()


async def told(link, message):
    """The next answer of the server that is no heartbeat, after message."""
    while not link.beat:
        link.beat = json.loads((await link.socket.receive()).data).get("beat", 0)
    await link.socket.send_str(json.dumps({"id": 1, "beat": link.beat, **message}))
    return await link.next()


def ask(site, *messages):
    async def run():
        async with linked(site, "/control") as link:
            return [await told(link, message) for message in messages]

    return asyncio.run(run())


def test_a_verb_is_given_its_details_and_what_it_refuses_is_a_sentence(equipped):
    details = {"node": "policy", "name": "num_steps", "value": 4}
    good, bad = ask(equipped, {"ask": "set", "with": details}, {"ask": "bad"})
    assert good["ok"] and equipped.done == [("set", details)]
    assert not bad["ok"] and bad["message"] == "num_steps: got 'x', expected a int"


@pytest.mark.parametrize(
    "message", [{"ask": "set", "with": [1]}, {"ask": ["set"]}, {"ask": "sat"}]
)
def test_what_is_no_verb_or_has_no_details_is_refused(equipped, message):
    (answer,) = ask(equipped, message)
    assert not answer["ok"] and "expected one of say, engage" in answer["message"]
    assert equipped.done == []


def test_what_is_late_changes_nothing_but_what_ends_something(equipped, monkeypatch):
    monkeypatch.setattr(control_link, "FRESH_S", -1.0)
    late, end = ask(equipped, {"ask": "set"}, {"ask": "record_end"})
    assert not late["ok"] and "not carried out" in late["message"] and end["ok"]
    assert [verb for verb, _ in equipped.done] == ["record_end"]


def test_a_hand_is_passed_on_and_hears_only_why_it_is_not(equipped):
    messages = {"drive": {**TWIST, "hand": "b"}}, {"drive": TWIST}
    assert ask(equipped, *messages) == [{"hand": "another page drives"}, {"hand": ""}]
    assert [details["hand"] for _, details in equipped.done] == ["b", "a"]


@pytest.mark.parametrize(
    "message", [{"drive": TWIST, "beat": 0}, {"drive": TWIST, "beat": None}, {"drive": "w"}]
)
def test_a_hand_that_is_late_or_none_moves_nothing(equipped, message):
    (answer,) = ask(equipped, message)
    assert answer["hand"] and equipped.done == []


def test_a_hand_grows_old_sooner_than_a_request(equipped, monkeypatch):
    assert control_link.HAND_S < control_link.FRESH_S
    monkeypatch.setattr(control_link, "HAND_S", -1.0)
    late, fine = ask(equipped, {"drive": TWIST}, {"ask": "set"})
    assert "on its way" in late["hand"] and fine["ok"]
    assert [verb for verb, _ in equipped.done] == ["set"]


def test_a_page_without_teleoperation_says_so(site):
    (answer,) = ask(site, {"drive": TWIST})
    assert "nobody" in answer["hand"]
