"""A checkpoint's inputs and outputs, and whether a robot matches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.spaces import GRIPPER, JOINT_PREFIX
from vla_policy.parsing.fields import MANY, NAME
from vla_policy.parsing.files import one_line

NAMES = ("camera_names", "state_names", "action_names", "model_action_names", "embodiments")
MAX_PX = 4096


@dataclass(frozen=True, slots=True)
class Contract:
    """The agreement between a checkpoint and a robot.

    camera_names, state_names: in the model's order. action_names: columns of its chunks.
    model_action_names: the network's output columns, e.g. steps, before they become absolute.
    spaces: action group -> space, frames as in the embodiment file.
    """

    camera_names: tuple[str, ...]
    image_px: int
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    model_action_names: tuple[str, ...]
    spaces: tuple[tuple[str, str], ...]
    policy_hz: float
    embodiments: tuple[str, ...]

    @property
    def step_ns(self) -> int:
        """Time between rows."""
        return round(1e9 / self.policy_hz)


def to_dict(contract: Contract) -> dict[str, Any]:
    """Plain JSON data."""
    return asdict(contract)


def from_dict(data: Mapping[str, Any], where: str = "contract") -> Contract:
    """Inverse of to_dict.

    where: for messages. Raises ValueError naming a missing or invalid key.
    """
    names = {f.name for f in fields(Contract)}
    if set(data) != names:
        raise ValueError(
            f"{where}: missing {sorted(names - set(data)) or 'nothing'}, unknown {sorted(set(data) - names) or 'nothing'}"
        )
    plain: dict[str, Any] = {key: _names(data[key], f"{where}.{key}") for key in NAMES}
    spaces = data["spaces"]
    pairs = isinstance(spaces, list | tuple) and len(spaces) <= MANY
    if not pairs or not all(isinstance(s, list | tuple) and len(s) == 2 for s in spaces):
        raise _refuse(f"{where}.spaces", spaces, "a list of pairs of action group and space")
    plain["spaces"] = tuple(_names(pair, f"{where}.spaces") for pair in spaces)
    for key, low, high, kind in (
        ("image_px", 1, MAX_PX, int),
        ("policy_hz", 0.1, 1000.0, int | float),
    ):
        value = data[key]
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise _refuse(f"{where}.{key}", value, f"a number from {low} to {high}")
        plain[key] = value
    return Contract(**plain)


def _names(value: Any, where: str) -> tuple[str, ...]:
    """Names as in robot files: a space or newline in a name would be invisible in a message."""
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MANY:
        raise _refuse(where, value, f"a list of 1 to {MANY} names")
    for name in value:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise _refuse(where, name, "a name: letters, digits and _ . - /")
    return tuple(value)


def _refuse(where: str, got: Any, expected: str) -> ValueError:
    return ValueError(f"{where}: got {one_line(repr(got), 80)}, expected {expected}")


def check(contract: Contract, embodiment: Embodiment) -> tuple[str, ...]:
    """One sentence for each difference between embodiment and contract; empty if it matches."""
    spaces = tuple((g.name, g.space) for g in embodiment.actions)
    cameras = tuple(embodiment.camera_names)
    pairs: list[tuple[str, object, object]] = []
    # A robot may have more cameras than the checkpoint uses.
    if not set(contract.camera_names) <= set(cameras):
        pairs.append(("cameras", contract.camera_names, cameras))
    pairs += [
        ("state", contract.state_names, tuple(embodiment.state_names)),
        ("action names", contract.action_names, tuple(embodiment.action_names)),
        ("action spaces", contract.spaces, spaces),
        ("policy rate in Hz", contract.policy_hz, float(embodiment.policy_hz)),
    ]
    problems = [
        f"{what}: the checkpoint has {wanted}, robot {embodiment.name!r} has {got}"
        for what, wanted, got in pairs
        if wanted != got
    ]
    if embodiment.name not in contract.embodiments:
        problems.append(
            f"robot: the checkpoint was trained for {', '.join(contract.embodiments)}, not for {embodiment.name!r}"
        )
    return tuple(problems)


def check_middles(
    what: str, middles: Mapping[str, float], embodiment: Embodiment
) -> tuple[str, ...]:
    """One sentence for each column whose training values lie outside the range of embodiment.

    what: of the statistics. middles: column -> mean or middle in robot units. Joints are compared
    with their ranges, grippers with 0 .. 1, with a tolerance of a tenth of the range. Finds other
    units and other robots.
    """
    joints = embodiment.joints
    ranges = {
        f"{JOINT_PREFIX}{name}": (float(low), float(high), joints.unit)
        for name, low, high in zip(joints.names, joints.lower, joints.upper, strict=True)
    }
    ranges |= {name: (0.0, 1.0, "of its opening") for name in middles if name in GRIPPER}
    problems = []
    for name, middle in middles.items():
        if name in ranges:
            low, high, unit = ranges[name]
            slack = 0.1 * (high - low)
            if not low - slack <= middle <= high + slack:
                problems.append(
                    f"{what} of {name}: trained around {middle:g}, robot {embodiment.name!r} has "
                    f"{low:g} .. {high:g} {unit}: statistics of another robot or in another unit"
                )
    return tuple(problems)
