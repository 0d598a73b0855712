"""When the policy is asked and when it is not, with a stand-in policy and a hand-moved clock."""

from __future__ import annotations

import threading
import time
from unittest.mock import create_autospec

import numpy as np
import pytest

from vla_policy.inference import MAX_FAILURES, Inference, InferenceConfig, Infers
from vla_policy.observe import StateSource, Stream
from vla_policy.types import ActionChunk, Reason

MS = 1_000_000
START_NS = 1_000_000 * MS
IMAGE = np.zeros((2, 2, 3), np.uint8)


def wait_for(condition, timeout_s=5.0) -> bool:
    """Poll until the inference thread has got there."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.002)
    return True


class Bench:
    """An Inference over one camera and one state stream, and what came out of it."""

    def __init__(self, infer=None):
        self.now_ns = START_NS
        self.chunks, self.errors = [], []
        self.policy = create_autospec(Infers, instance=True)
        self.policy.infer.side_effect = infer or self.answer
        self.camera = Stream("front/image_raw", 350 * MS)
        self.state = Stream("ee_pose", 250 * MS)
        config = InferenceConfig(("x",), max_skew_ns=150 * MS, execute_ns=400 * MS, seed=5)
        self.inference = Inference(
            self.policy,
            {"front": self.camera},
            (StateSource(("x",), self.state),),
            config,
            now_ns=lambda: self.now_ns,
            on_chunk=self.chunks.append,
            on_error=self.errors.append,
        )
        self.inference.set_active(True)

    @staticmethod
    def answer(observation, previous=None, *, seed=None, num_steps=None):
        return ActionChunk(
            np.zeros((3, 1)), ("x",), observation.obs_ns, 100 * MS, 0, observation.instruction
        )

    def show(self, at_ms: int) -> None:
        """A new instant: clock, state, image."""
        self.now_ns = START_NS + at_ms * MS
        self.inference.add(self.state, self.now_ns, np.array([1.0]))
        self.inference.add(self.camera, self.now_ns, IMAGE)

    def reason(self) -> str | None:
        reason = self.inference.status().reason
        return None if reason is None else reason.code


@pytest.fixture
def bench(request):
    made = Bench()
    yield made
    made.inference.close()


def test_nothing_is_inferred_without_an_instruction(bench):
    bench.show(0)
    assert wait_for(lambda: bench.reason() == "no_instruction")
    time.sleep(0.15)
    bench.policy.infer.assert_not_called()


def test_a_chunk_every_execute_time_counted_between_observations(bench):
    bench.inference.set_instruction("go")
    for at_ms in range(0, 1300, 100):
        calls = bench.policy.infer.call_count
        bench.show(at_ms)
        if at_ms % 400 == 0:
            assert wait_for(lambda n=calls: bench.policy.infer.call_count == n + 1)
        else:
            time.sleep(0.02)
    assert wait_for(lambda: len(bench.chunks) == 4)
    assert [chunk.obs_ns - START_NS for chunk in bench.chunks] == [
        0,
        400 * MS,
        800 * MS,
        1200 * MS,
    ]
    assert [chunk.sequence for chunk in bench.chunks] == [0, 1, 2, 3]
    assert [call.kwargs["seed"] for call in bench.policy.infer.mock_calls] == [5, 6, 7, 8]
    assert bench.inference.status().latency_s.shape == (3,)


def test_a_new_instruction_is_served_at_once(bench):
    bench.inference.set_instruction("go left")
    bench.show(0)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.set_instruction("go right")
    assert wait_for(lambda: len(bench.chunks) == 2)
    assert bench.chunks[1].instruction == "go right"


def test_an_instruction_that_ends_during_inference_drops_the_chunk():
    started, go_on = threading.Event(), threading.Event()

    def slow(observation, previous=None, *, seed=None, num_steps=None):
        started.set()
        assert go_on.wait(5.0)
        return Bench.answer(observation)

    bench = Bench(slow)
    bench.inference.set_instruction("go")
    bench.show(0)
    assert started.wait(5.0)
    bench.inference.set_instruction("")
    go_on.set()
    assert wait_for(lambda: bench.inference.status().chunks == 1)
    assert wait_for(lambda: bench.reason() == "no_instruction")
    assert bench.chunks == []
    bench.inference.close()


def test_a_dead_camera_is_noticed_without_any_input(bench):
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: bench.chunks and bench.reason() is None)
    bench.now_ns += 351 * MS
    assert wait_for(lambda: bench.reason() == "stale")
    assert bench.inference.status().age_s == {"front/image_raw": 0.351, "ee_pose": 0.351}


def test_a_model_that_keeps_raising_is_stopped_and_can_be_started_again():
    failing = [True]

    def infer(observation, previous=None, *, seed=None, num_steps=None):
        if failing[0]:
            raise RuntimeError("out of memory")
        return Bench.answer(observation)

    bench = Bench(infer)
    bench.inference.set_instruction("go")
    for k in range(6):
        bench.show(400 * k)
        time.sleep(0.03)
    assert wait_for(lambda: bench.inference.status().stopped)
    assert bench.policy.infer.call_count == MAX_FAILURES == len(bench.errors)
    assert "out of memory" in bench.errors[0] and bench.chunks == []
    failing[0] = False
    bench.inference.set_active(False)
    bench.inference.set_active(True)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.close()


def test_an_instruction_that_the_policy_refuses_does_not_stop_it():
    def infer(observation, previous=None, *, seed=None, num_steps=None):
        if observation.instruction == "too long":
            raise ValueError("instruction: 99 tokens, expected at most 24")
        return Bench.answer(observation)

    bench = Bench(infer)
    bench.inference.set_instruction("too long")
    for k in range(10):
        bench.show(100 * k)
        time.sleep(0.02)
    assert wait_for(lambda: bench.reason() == "refused")
    assert bench.policy.infer.call_count <= 4, "not asked again before its time"
    assert not bench.inference.status().stopped and bench.errors == []
    bench.inference.set_instruction("go")
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.close()


def test_a_request_is_answered_with_a_chunk_or_the_reason(bench):
    assert bench.inference.request("").code == "no_instruction"
    assert bench.inference.request("go").code == "missing"
    bench.show(0)
    chunk = bench.inference.request("go")
    assert isinstance(chunk, ActionChunk) and chunk.instruction == "go"
    assert bench.chunks == [], "a request is answered, not published"


def test_an_inactive_policy_does_not_infer(bench):
    bench.inference.set_active(False)
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: bench.reason() == "inactive")
    assert isinstance(bench.inference.status().reason, Reason)
    bench.policy.infer.assert_not_called()


def test_a_failing_consumer_does_not_end_the_thread():
    bench = Bench()
    bench.inference._on_chunk = lambda chunk: bench.chunks.append(chunk) or 1 / 0
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: len(bench.errors) == 1) and "ZeroDivisionError" in bench.errors[0]
    bench.show(400)
    assert wait_for(lambda: len(bench.chunks) == 2)
    bench.inference.close()
