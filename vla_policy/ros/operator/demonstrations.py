"""The scripted expert's demonstrations through a running graph: scene, take, verdict, one after another."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vla_policy.data.recording import Phase
from vla_policy.msg import ActionChunk
from vla_policy.ros.messages.convert import ns_from_stamp
from vla_policy.ros.operator.client import Client
from vla_policy.ros.operator.recorder_client import RecorderClient
from vla_policy.ros.operator.trial import SETTLE_S, engage, wait_for_task
from vla_policy.ros.process import qos
from vla_policy.timing import ns_from_s

READY_S = 15.0
AFTER_NS = ns_from_s(
    1.0
)  # recorded after the expert has reported that it is done, on the robot's clock
PACE = 4  # how much slower than real time a simulation may run
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class DemonstrationResult:
    """The result of one. saved: it is an episode. success: the simulation's verdict."""

    instruction: str
    success: bool
    saved: bool
    seconds: float
    sentence: str


class Demonstrator:
    """Lets the expert demonstrate through the recorder; seconds: the time limit of a demonstration.

    Raises ValueError or TimeoutError if a node refuses or does not answer.
    """

    def __init__(self, client: Client, recorder: RecorderClient, *, seconds: float) -> None:
        self._client, self._recorder, self._seconds = client, recorder, seconds
        self._done_ns: int | None = None
        self._instruction = ""
        client.node.create_subscription(ActionChunk, "teleop_chunk", self._on_chunk, qos.COMMAND)

    def demonstrate(self, seed: int) -> DemonstrationResult:
        """One take in the scene of seed; kept if the simulation and the take's verdict agree on success."""
        client, recorder = self._client, self._recorder
        client.engage(False)
        scene = client.set_scene(seed, "")
        self._instruction, self._done_ns = scene.instruction, None
        wait_for_task(client, scene.instruction)
        recorder.set_task(scene.instruction)
        time.sleep(SETTLE_S)
        engage(client)
        recorder.take_over()
        self._begin()
        client.start(scene.instruction, self._seconds)
        self._follow()
        # A take that has ended by itself answers that none is recorded; its verdict has the reason.
        recorder.ask("end")
        client.cancel()
        return self._decide()

    def _begin(self) -> None:
        """Start a take; again for READY_S, as a stream that pauses for a moment refuses it."""
        recorder, end_s = self._recorder, time.monotonic() + READY_S
        while True:
            left_s = max(0.0, end_s - time.monotonic())
            ready = recorder.wait(lambda s: s.phase == Phase.IDLE and not s.missing, left_s)
            if not ready and recorder.status is not None:
                raise TimeoutError(f"no take can begin: {'; '.join(recorder.status.missing)}")
            begun, sentence = recorder.ask("start")
            if begun:
                return
            if time.monotonic() > end_s:
                raise ValueError(f"no take was begun: {sentence}")
            time.sleep(POLL_S)

    def _follow(self) -> None:
        """Until the expert has been done for a while, the take has ended by itself, or time is up."""
        end_s = time.monotonic() + PACE * self._seconds
        while time.monotonic() < end_s:
            time.sleep(POLL_S)
            status, control = self._recorder.status, self._client.status
            if status is not None and status.phase == Phase.DECIDING:
                return
            if self._done_ns is None or control is None:
                continue
            if ns_from_stamp(control.header.stamp) - self._done_ns > AFTER_NS:
                return

    def _decide(self) -> DemonstrationResult:
        recorder, event = self._recorder, self._client.event
        if (
            not recorder.wait(lambda s: s.phase == Phase.DECIDING, READY_S)
            or recorder.status is None
        ):
            raise TimeoutError("the take does not end")
        status = recorder.status
        success = bool(event and event.instruction == self._instruction and event.ever_success)
        if success and status.keep:
            saved, sentence = recorder.save(True)
        else:
            _, sentence = recorder.ask("discard")
            saved = False
            why = list(status.verdict) if not status.keep else [event.detail if event else ""]
            sentence = "; ".join([*why, sentence])
        return DemonstrationResult(self._instruction, success, saved, status.elapsed, sentence)

    def _on_chunk(self, msg: ActionChunk) -> None:
        if msg.instruction != self._instruction:
            return
        if not msg.terminate:
            self._done_ns = None
        elif self._done_ns is None:
            self._done_ns = ns_from_stamp(msg.header.stamp)
