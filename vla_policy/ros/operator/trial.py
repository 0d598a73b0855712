"""One task in the running simulation, from its scene to the verdict of physics."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vla_policy.evaluate.video import Strip
from vla_policy.ros.operator.client import Client, InstructionResult
from vla_policy.ros.operator.watch import Watch
from vla_policy.types import Level

SETTLE_S = 0.4  # for the robot's state of the new scene to reach every node
AFTER_S = 0.6  # of images after the end
POLL_S = 0.05
ENGAGE_S = 8.0


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one task. success: the verdict of the simulation, from its ground truth."""

    instruction: str
    head: str
    success: bool
    seconds: float
    detail: str
    strip: Strip


def run_trial(
    client: Client,
    watch: Watch,
    head: str,
    seed: int,
    instruction: str,
    timeout_s: float,
    said: str | None = None,
) -> Trial:
    """Set the scene, engage, publish the instruction, and wait for the simulation's verdict or the time limit.

    timeout_s: of the instruction, on the clock of the simulation. said: the policy's instruction,
    if it differs from the one that the simulation judges. Raises ValueError if the scene or the
    engagement is refused, TimeoutError if a node does not answer.
    """
    client.engage(False)
    scene = client.set_scene(seed, instruction)
    wait_for_task(client, scene.instruction)
    time.sleep(SETTLE_S)
    engage(client)
    watch.record()
    started = time.monotonic()
    result = client.start(said or scene.instruction, timeout_s)
    outcome = _wait_for_verdict(client, result, timeout_s)
    seconds = time.monotonic() - started
    event = client.event
    if outcome is None:
        client.cancel()
    time.sleep(AFTER_S)
    success = bool(event and event.instruction == scene.instruction and event.ever_success)
    detail = event.detail if event else ""
    if not success and outcome is not None:
        detail = f"{outcome.code}: {outcome.message}" + (f"; {detail}" if detail else "")
    title = f"{head}: {said or scene.instruction}"
    return Trial(
        said or scene.instruction,
        head,
        success,
        seconds,
        detail,
        Strip(title, success, watch.take()),
    )


def wait_for_task(client: Client, instruction: str) -> None:
    end = time.monotonic() + 5.0
    while (
        client.event is None
        or client.event.instruction != instruction
        or client.event.ever_success
    ):
        if time.monotonic() > end:
            raise TimeoutError(f"the simulation does not judge {instruction!r}")
        time.sleep(POLL_S)


def engage(client: Client) -> None:
    """Engage as soon as the control node has fresh inputs, and wait until its status reports it.

    Raises ValueError with the refusal: immediately for a stopped robot, which only a person
    resets.
    """
    end = time.monotonic() + ENGAGE_S
    while True:
        try:
            client.engage()
            break
        except ValueError:
            stopped = client.status is not None and client.status.level == Level.STOP
            if stopped or time.monotonic() > end:
                raise
        time.sleep(0.2)
    while not (client.status and client.status.engaged):
        if time.monotonic() > end:
            raise TimeoutError("control engaged, but its status does not say so")
        time.sleep(POLL_S)
    # The task node reads the same status and must not refuse because it read it later.
    time.sleep(SETTLE_S)


def _wait_for_verdict(
    client: Client, result: object, timeout_s: float
) -> InstructionResult | None:
    """None once the simulation saw success, else how the instruction ended."""
    # A slow machine simulates slower than real time; the time limit is the simulation's.
    end = time.monotonic() + 4 * timeout_s + 10.0
    while time.monotonic() < end:
        if client.event is not None and client.event.ever_success:
            return None
        outcome = client.outcome(result, POLL_S)
        if outcome is not None:
            return outcome
    return InstructionResult("timeout", "no outcome in four times the time limit")
