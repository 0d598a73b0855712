"""Buttons of a gamepad or pedal to what the recorder does; a button acts when it goes down."""

from __future__ import annotations

from dataclasses import dataclass

from vla_policy.ros.nodes.recorder_params import RecorderParams


@dataclass(frozen=True, slots=True)
class Buttons:
    """down: indices of the buttons that are held; None before the first message."""

    down: frozenset[int] | None = None


def pressed(
    before: Buttons, buttons: tuple[int, ...], params: RecorderParams
) -> tuple[Buttons, str | None]:
    """The buttons now, and 'start', 'success', 'failure' or 'discard' if one of these has just gone down.

    What is held when the first message comes was not pressed for the recorder. Of several that go down together
    the first of discard, failure, success, start counts.
    """
    down = frozenset(index for index, value in enumerate(buttons) if value)
    fresh = down - before.down if before.down is not None else frozenset()
    for word, index in (
        ("discard", params.joy_discard),
        ("failure", params.joy_failure),
        ("success", params.joy_success),
        ("start", params.joy_start),
    ):
        if index in fresh:
            return Buttons(down), word
    return Buttons(down), None
