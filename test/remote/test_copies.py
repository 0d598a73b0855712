"""Copies of a policy in other processes: the same answers, beside each other, and one that dies is no answer.

Ray Serve itself is run by benchmarks/serve_robots.py --copies; here a stand-in for its handle calls the copies.
"""

import threading
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from serving import CONTRACT, OFFER, ROWS, Played, Running, observation

from vla_policy.commands import serve_policy
from vla_policy.commands.serve_copies import PolicyCopy, copied, started
from vla_policy.commands.serve_policy import Loaded
from vla_policy.models.sampling import InferenceOptions, Sampling
from vla_policy.policy import load_policy
from vla_policy.remote.answers import Served, answer
from vla_policy.remote.forwarding import pack_outcome, pack_request, read_outcome, read_packed
from vla_policy.remote.messages import Asked
from vla_policy.runtime.policy_protocol import Unavailable

OPTIONS = {"policy": "played"}


class Handle:
    """As Ray Serve's: each method has .remote(), whose .result() is waited for. One copy after the other."""

    def __init__(self, copies):
        self.copies, self._calls, self._lock = copies, 0, threading.Lock()
        self.busy = [threading.Lock() for _ in copies]

    def __getattr__(self, name):
        handle = self

        class Method:
            def remote(self, *args):
                self.args = args
                return self

            def result(self, timeout_s):
                with handle._lock:
                    index = handle._calls % len(handle.copies)
                    handle._calls += 1
                with handle.busy[index]:
                    return getattr(handle.copies[index], name)(*self.args)

        return Method()


@pytest.fixture
def copy_of(monkeypatch):
    """A copy that has a given policy, and adapters."""

    def make(policy, offer=OFFER, **adapters):
        served = {n: Served(p, getattr(p, "infer_many", None)) for n, p in adapters.items()}
        loaded = Loaded({None: Served(policy), **served}, offer, True)
        monkeypatch.setattr(serve_policy, "load", lambda args: loaded)
        return PolicyCopy(OPTIONS)

    return make


def asked(**other):
    seen = observation()
    values = {
        "want": "infer", "observation": seen, "instruction": seen.instruction, "candidates": 1,
        "options": InferenceOptions(seed=3), "previous": None, "question": "", "deadline_s": None,
        "request_id": 9, "own": True,
    }  # fmt: skip
    return Asked(**{**values, **other})


def test_a_request_and_its_outcome_are_the_same_behind_the_way():
    policy = Played()
    previous = replace(policy.infer(observation()), obs_ns=1_000, sequence=4)
    for one in (
        asked(),
        asked(previous=previous, options=InferenceOptions(frozen_rows=3, guidance_rows=5)),
        asked(previous=previous, options=InferenceOptions(candidates=4)),
        asked(want="candidates", candidates=3),
        asked(want="point"), asked(want="ask", question="where is it"), asked(want="sees"),
        asked(want="understands", observation=None, instruction="dance"),
        asked(instruction="please refuse", observation=observation("please refuse")),
    ):  # fmt: skip
        there = read_packed(pack_request(one), CONTRACT, ())
        want, got = (answer(Played(), [x], pytest.fail)[0] for x in (one, there))
        back = read_outcome(pack_outcome(got), one, CONTRACT)
        if isinstance(want, tuple):
            for a, b in zip(back, want, strict=True):
                np.testing.assert_array_equal(a.actions, b.actions)
                assert replace(a, actions=b.actions, model_actions=b.model_actions) == b
        elif one.want == "point":
            np.testing.assert_array_equal(
                back["points"]["target_xyz"], want["points"]["target_xyz"]
            )
        else:
            assert back == want


def test_robots_are_answered_by_copies_as_by_the_policy_and_beside_each_other(copy_of):
    both = threading.Barrier(2)

    class Meets(Played):
        def infer_chunk(self, observation, previous, options):
            if "together" in observation.instruction:
                both.wait(5)  # alone nobody gets past
            return super().infer_chunk(observation, previous, options)

    made = copied(Handle([copy_of(Meets()), copy_of(Meets())]), 2)
    assert made.offer == OFFER and made.looks_at_state
    with Running(None, copies=made.copies) as running:
        robots = [load_policy(running.address) for _ in range(2)]
        want = Played().infer(observation()).actions
        np.testing.assert_array_equal(robots[0].infer(observation()).actions, want)
        three = robots[1].infer_candidates(observation(), Sampling(candidates=3))
        assert len(three) == 3 and robots[0].understands("dance").code == "words"
        got = [None, None]

        def ask(index):
            got[index] = robots[index].infer(observation("pick together")).actions

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert [len(rows) for rows in got] == [ROWS, ROWS]
        for robot in robots:
            robot.close()


def test_a_copy_that_died_or_has_other_weights_is_no_answer_and_the_next_is(copy_of):
    class Dead:
        def answer(self, batch):
            raise ConnectionError("the actor died, on the host gpu-7")

    other = copy_of(Played(), replace(OFFER, weights="sha256:9"))
    handle = Handle([copy_of(Played()), Dead(), other])
    with Running(None, copies=copied(handle, 1).copies) as running:
        there = load_policy(running.address)
        for why in ("actor died", "other weights"):
            with pytest.raises(Unavailable, match="a copy of the model failed") as raised:
                there.infer(observation())
            assert "gpu-7" not in str(raised.value)
            assert why in running.log[-2]["traceback"] or why in running.log[-1]["traceback"]
        assert len(there.infer(observation()).actions) == ROWS
        there.close()


def test_a_copy_whose_model_only_raises_says_so(copy_of):
    one = copy_of(Played())
    good, bad = (pack_request(asked(observation=observation(w), instruction=w))
                 for w in ("pick", "please raise"))  # fmt: skip
    for _ in range(4):
        one.answer([bad])
    one.check_health()
    one.answer([good])
    for _ in range(4):
        one.answer([bad])
    one.check_health()
    one.answer([bad])
    with pytest.raises(RuntimeError, match="raised 5 times in a row"):
        one.check_health()


def test_copies_of_nothing_are_refused():
    with pytest.raises(ValueError, match="--copies: got 0, expected 1 or more"):
        with started(Namespace(copies=0)):
            pass
    with pytest.raises(ValueError, match="either a policy or copies"):
        Running(None, copies=None)
