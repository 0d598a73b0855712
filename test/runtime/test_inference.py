"""When the policy is asked and when it is not, with a stand-in policy and a hand-moved clock."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from inference_bench import IMAGE, MS, START_NS, Bench, wait_for

from vla_policy.execution.replanning import Continuation, Delays, measured
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.inference import MAX_FAILURES
from vla_policy.types import ActionChunk, Reason


def test_nothing_is_inferred_without_an_instruction(bench):
    bench.show(0)
    assert wait_for(lambda: bench.reason() == "no_instruction")
    time.sleep(0.15)
    bench.policy.infer_chunk.assert_not_called()


def test_a_chunk_every_execute_time_counted_between_observations(bench):
    bench.inference.set_instruction("go")
    for at_ms in range(0, 1300, 100):
        calls = bench.policy.infer_chunk.call_count
        bench.show(at_ms)
        if at_ms % 400 == 0:
            assert wait_for(lambda n=calls: bench.policy.infer_chunk.call_count == n + 1)
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
    assert [call.args[2].seed for call in bench.policy.infer_chunk.mock_calls] == [5, 6, 7, 8]
    assert bench.inference.status().latency_s.shape == (3,)


@pytest.mark.parametrize("last", ["image", "state"])
def test_what_comes_last_of_an_instant_lets_it_be_looked_at(bench, last, monkeypatch):
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: len(bench.chunks) == 1)
    monkeypatch.setattr("vla_policy.runtime.inference.IDLE_S", 1000.0)  # nothing else wakes it
    time.sleep(0.25)  # more than the wait that has begun before
    at_ns = bench.now_ns = START_NS + 400 * MS
    samples = [(bench.camera, at_ns, IMAGE), (bench.state, at_ns, np.array([1.0]))]
    for sample in samples if last == "state" else samples[::-1]:
        bench.inference.add(*sample)
        time.sleep(0.05)
    assert wait_for(lambda: len(bench.chunks) == 2)
    assert bench.chunks[1].obs_ns == at_ns


def test_a_new_instruction_is_served_at_once(bench):
    bench.inference.set_instruction("go left")
    bench.show(0)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.set_instruction("go right")
    assert wait_for(lambda: len(bench.chunks) == 2)
    assert bench.chunks[1].instruction == "go right"


def test_an_instruction_that_ends_during_inference_drops_the_chunk():
    started, go_on = threading.Event(), threading.Event()

    def slow(observation, previous, options):
        started.set()
        assert go_on.wait(5.0)
        return Bench.answer(observation, previous, options)

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

    def infer(observation, previous, options):
        if failing[0]:
            raise RuntimeError("out of memory")
        return Bench.answer(observation, previous, options)

    bench = Bench(infer)
    bench.inference.set_instruction("go")
    for k in range(6):
        bench.show(400 * k)
        time.sleep(0.03)
    assert wait_for(lambda: bench.inference.status().stopped)
    assert bench.policy.infer_chunk.call_count == MAX_FAILURES == len(bench.errors)
    assert "out of memory" in bench.errors[0] and bench.chunks == []
    failing[0] = False
    bench.inference.set_active(False)
    bench.inference.set_active(True)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.close()


def test_an_instruction_that_the_policy_refuses_does_not_stop_it():
    def infer(observation, previous, options):
        if observation.instruction == "too long":
            raise ValueError("instruction: 99 tokens, expected at most 24")
        return Bench.answer(observation, previous, options)

    bench = Bench(infer)
    bench.inference.set_instruction("too long")
    for k in range(10):
        bench.show(100 * k)
        time.sleep(0.02)
    assert wait_for(lambda: bench.reason() == "refused")
    assert bench.policy.infer_chunk.call_count <= 4, "not asked again before its time"
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
    bench.policy.infer_chunk.assert_not_called()


def test_a_failing_consumer_does_not_end_the_thread():
    bench = Bench()
    bench.inference._on_chunk = lambda chunk: bench.chunks.append(chunk) or 1 / 0
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: len(bench.errors) == 1) and "ZeroDivisionError" in bench.errors[0]
    bench.show(400)
    assert wait_for(lambda: len(bench.chunks) == 2)
    bench.inference.close()


def execute(bench, at_ms, delay_ms, count, *, shift_ms=0):
    """Show an instant, wait for chunk number count, and let the control path tell that it took it."""
    bench.show(at_ms)
    assert wait_for(lambda: len(bench.chunks) == count)
    chunk = bench.chunks[-1]
    bench.inference.taken(
        chunk.sequence, chunk.obs_ns + shift_ms * MS, chunk.obs_ns + delay_ms * MS
    )
    return chunk


def test_rtc_continues_the_chunk_that_is_executed_by_the_measured_delay():
    bench = Bench(scheme="rtc")
    bench.inference.set_instruction("go")
    assert execute(bench, 0, 900, 1, shift_ms=200).continues is None
    # The first delay is a warm-up and says nothing; so nothing is continued yet.
    assert execute(bench, 400, 150, 2).continues is None
    assert bench.inference.status().delay_s == 0.15
    # 150 ms are two rows begun. The plan began at 400 ms, so 4 of its 8 rows are left at 800 ms.
    third = execute(bench, 800, 50, 3)
    previous = bench.policy.infer_chunk.call_args.args[1]
    assert (third.continues, third.frozen_rows) == (1, 2)
    assert bench.policy.infer_chunk.call_args.args[2].guidance_rows == 4
    assert previous.actions[:, 0] == pytest.approx([4, 5, 6, 7])
    assert previous.obs_ns == third.obs_ns
    # The shorter delay does not count while the longer one is among the last ten.
    assert execute(bench, 1200, 50, 4).frozen_rows == 2
    assert bench.inference.status().continued == 2
    bench.inference.close()


def test_candidates_have_seeds_of_their_own_and_the_plan_to_be_chosen_by():
    bench = Bench(options=InferenceOptions(candidates=3))
    bench.inference.set_instruction("go")
    execute(bench, 0, 150, 1)
    execute(bench, 400, 150, 2)
    (_, before, first), (_, plan, second) = (c.args for c in bench.policy.infer_chunk.mock_calls)
    assert before is None and plan.actions[:, 0] == pytest.approx([4, 5, 6, 7])
    assert (first.seed, second.seed, second.candidates) == (5, 8, 3)
    assert (second.frozen_rows, second.guidance_rows) == (0, 0)
    bench.inference.close()


def test_rtc_counts_from_when_a_rested_robot_really_began():
    bench = Bench(scheme="rtc")
    bench.inference.set_instruction("go")
    execute(bench, 0, 100, 1)
    execute(bench, 400, 100, 2, shift_ms=100)
    execute(bench, 800, 100, 3)
    previous = bench.policy.infer_chunk.call_args.args[1]
    assert previous.actions[:, 0] == pytest.approx([3, 4, 5, 6, 7])  # 5 rows left, not 4
    bench.inference.close()


def test_rtc_continues_nothing_that_the_control_path_does_not_execute():
    bench = Bench(scheme="rtc")
    bench.inference.set_instruction("go")
    execute(bench, 0, 100, 1)
    execute(bench, 400, 100, 2)
    bench.inference.not_executing()
    assert execute(bench, 800, 100, 3).continues is None
    assert execute(bench, 1200, 100, 4).continues == 2
    bench.show(1600)  # the fifth is sent, but nobody says that it was taken
    assert wait_for(lambda: len(bench.chunks) == 5)
    bench.show(2000)
    assert wait_for(lambda: len(bench.chunks) == 6)
    assert bench.chunks[-1].continues is None
    bench.inference.close()


@pytest.mark.parametrize(
    ("change", "continues", "guidance"), [("flush", None, 0), ("blend", 1, 1)]
)
def test_a_change_of_instruction_is_recorded_and_rules_what_is_continued(
    change, continues, guidance
):
    bench = Bench(scheme="rtc", change=change)
    bench.inference.set_instruction("go left")
    assert execute(bench, 0, 100, 1).instruction_change == ""
    execute(bench, 400, 100, 2)
    bench.inference.set_instruction("go right")
    assert wait_for(lambda: len(bench.chunks) == 3)
    chunk = bench.chunks[-1]
    assert (chunk.instruction, chunk.instruction_change) == ("go right", change)
    assert chunk.continues == continues
    assert bench.policy.infer_chunk.call_args.args[2].guidance_rows == guidance
    bench.inference.taken(chunk.sequence, chunk.obs_ns, chunk.obs_ns + 100 * MS)
    assert execute(bench, 800, 100, 4).instruction_change == ""
    bench.inference.close()


def test_open_loop_sends_what_is_executed_and_looks_again_at_its_end():
    bench = Bench(scheme="open_loop")
    bench.inference.set_instruction("go")
    assert len(execute(bench, 0, 50, 1, shift_ms=50).actions) == 4
    bench.show(400)  # the plan ends at 450 ms
    time.sleep(0.05)
    assert len(bench.chunks) == 1
    bench.show(500)
    assert wait_for(lambda: len(bench.chunks) == 2)
    bench.inference.close()


def test_a_request_may_bring_the_chunk_that_it_continues(bench):
    bench.show(0)
    running = bench.inference.request("go")
    bench.show(250)
    chunk = bench.inference.request("go", Continuation(running, 2, 4))
    assert (chunk.continues, chunk.frozen_rows) == (0, 2)
    previous = bench.policy.infer_chunk.call_args.args[1]
    assert previous.actions[:, 0] == pytest.approx([2.5, 3.5, 4.5, 5.5, 6.625])
    assert bench.inference.request("go", Continuation(None, 2, 4)).code == "refused"
    bench.show(900)
    assert (
        "nothing of it is left"
        in bench.inference.request("go", Continuation(running, 1, 1)).detail
    )
    bench.policy.continues = False
    assert "cannot continue" in bench.inference.request("go", Continuation(running, 1, 1)).detail


def test_the_delay_is_the_longest_of_the_last_ten_without_the_warm_up():
    delays = Delays()
    assert delays.expected_ns is None
    delays = measured(delays, 3000)
    assert delays.expected_ns is None
    for delay_ns in (50, 200, *[100] * 9):
        delays = measured(delays, delay_ns)
    assert delays.expected_ns == 200
    assert measured(delays, 90).expected_ns == 100


def test_it_points_after_a_chunk_where_that_is_asked_for_and_the_policy_can():
    bench = Bench(point=True)
    bench.policy.can_point = True
    bench.policy.point.return_value = {"target_xyz": np.array([0.3, 0.1, 0.0])}
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: len(bench.places) == 1)
    xyz, obs_ns = bench.places[0]
    assert xyz.tolist() == [0.3, 0.1, 0.0] and obs_ns == bench.chunks[0].obs_ns
    # Whatever is wrong with it, chunks go on.
    bench.policy.point.side_effect = RuntimeError("broken")
    bench.show(400)
    assert wait_for(lambda: len(bench.chunks) == 2 and len(bench.errors) == 1)
    bench.policy.can_point = False
    bench.show(800)
    assert wait_for(lambda: len(bench.chunks) == 3)
    bench.inference.close()
    assert bench.policy.point.call_count == 2 and bench.inference.status().failures == 0


def test_it_does_not_point_unasked(bench):
    bench.policy.can_point = True
    bench.inference.set_instruction("go")
    bench.show(0)
    assert wait_for(lambda: len(bench.chunks) == 1)
    bench.inference.close()
    bench.policy.point.assert_not_called()
