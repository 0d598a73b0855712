"""Whether the robot's reports, and the chunk being executed, are recent enough to keep moving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vla_policy.embodiment import Embodiment
from vla_policy.timing import FUTURE_TOLERANCE_NS, ns_from_s, s_from_ns
from vla_policy.types import Reason

STALE_JOINTS = "stale_joint_states"
STALE_POSE = "stale_ee_pose"
STALE_CAMERA = "stale_camera"
STALE_PIXELS = "stale_pixels"
STALE_CHUNK = "stale_chunk"
GAP_NS = 1_000_000_000  # between two ticks; more is a jump of the clock, or a paused process


@dataclass(frozen=True, slots=True)
class InputStamps:
    """Stamps of the newest inputs, ns of the node's clock; None for an input never received.

    cameras: by name. still: camera -> since when it repeats the same pixels while the robot moves.
    errors: input code -> why its newest message could not be used, a sentence.
    conflict: why two sources of the same input contradict each other.
    """

    joint_ns: int | None = None
    ee_ns: int | None = None
    cameras: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    still: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    errors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    conflict: Reason | None = None


def stale_inputs(inputs: InputStamps, embodiment: Embodiment, now_ns: int) -> tuple[Reason, ...]:
    """One reason for each input that is missing, too old, from the future or unusable."""
    checks = [
        (STALE_JOINTS, embodiment.joints.topic, inputs.joint_ns, embodiment.joints.max_age_s)
    ]
    if embodiment.ee_pose is not None:
        pose = embodiment.ee_pose
        checks.append((STALE_POSE, pose.topic, inputs.ee_ns, pose.max_age_s))
    checks += [
        (STALE_CAMERA, camera.topic, inputs.cameras.get(name), camera.max_age_s)
        for name, camera in embodiment.cameras.items()
    ]
    reasons = []
    for code, topic, stamp_ns, max_age_s in checks:
        detail = too_old(topic, stamp_ns, max_age_s, now_ns)
        if detail is not None:
            reasons.append(Reason(code, inputs.errors.get(code, detail)))
    reasons += _frozen(inputs, embodiment, now_ns)
    if inputs.conflict is not None:
        reasons.append(inputs.conflict)
    return tuple(reasons)


def _frozen(inputs: InputStamps, embodiment: Embodiment, now_ns: int) -> list[Reason]:
    reasons = []
    for name, camera in embodiment.cameras.items():
        since_ns = inputs.still.get(name)
        if since_ns is not None and now_ns - since_ns > ns_from_s(camera.max_still_s):
            still_s = s_from_ns(now_ns - since_ns)
            detail = (
                f"{camera.topic} shows the very same pixels for {still_s:.2f} s while the robot "
                f"moved, at most {camera.max_still_s:g} s is allowed"
            )
            reasons.append(Reason(STALE_PIXELS, detail))
    return reasons


def too_old(what: str, stamp_ns: int | None, max_age_s: float, now_ns: int) -> str | None:
    """Why a stamp is not fresh, as a sentence; None if it is."""
    if stamp_ns is None:
        return f"nothing has come on {what} yet"
    age_ns = now_ns - stamp_ns
    if -FUTURE_TOLERANCE_NS <= age_ns <= ns_from_s(max_age_s):
        return None
    if age_ns < 0:
        return f"{what} is stamped {s_from_ns(-age_ns):.3f} s ahead of the clock"
    return f"{what} is {s_from_ns(age_ns):.2f} s old, at most {max_age_s:g} s is allowed"


def clock_jumped(last_ns: int, now_ns: int) -> Reason | None:
    """The reason if the clock went back since the last tick, or ahead by more than GAP_NS."""
    if 0 <= now_ns - last_ns <= GAP_NS:
        return None
    if now_ns < last_ns:
        back_s = s_from_ns(last_ns - now_ns)
        return Reason("clock_jump", f"the clock went back by {back_s:.3f} s")
    gap_s = s_from_ns(now_ns - last_ns)
    return Reason("clock_jump", f"the clock went on by {gap_s:.3f} s from one tick to the next")
