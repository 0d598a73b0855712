"""Node parameters as a frozen dataclass: one declaration gives default, description and range.

It also states when a parameter may change, so that `ros2 param set` never answers "successful"
for a value that nothing reads: START parameters are read-only, CONFIGURE parameters can be set
while a lifecycle node is unconfigured, LIVE parameters act at once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

P = TypeVar("P")
ParamValue = bool | int | float | str

START, CONFIGURE, LIVE = "start", "configure", "live"
ONE_OF = "one of "
WHEN = {
    START: "set when the node starts",
    CONFIGURE: "set while the node is unconfigured",
    LIVE: "acts at once",
}


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """The description of one parameter besides its default. changes: START, CONFIGURE or LIVE."""

    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    changes: str


def param(
    default: ParamValue,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    changes: str = START,
) -> Any:
    """A dataclass field that read_params declares as a ROS parameter.

    low, high: inclusive range of a number, its unit is in the name or description.
    changes: when it may change, a key of WHEN.
    """
    spec = ParamSpec(description, low, high, choices, changes)
    return field(default=default, metadata={"param": spec})


def specs_of(kind: type) -> dict[str, ParamSpec]:
    """Parameter name -> its description, for a dataclass of param() fields."""
    return {f.name: f.metadata["param"] for f in fields(kind)}


def read_params(node: Node, kind: type[P]) -> P:
    """Declare what is not declared yet, read all fields of the dataclass kind, check each.

    Numbers for a float parameter may be written as integers. To be called again on each configure.
    Raises ValueError with the parameter's name, the value got and what was expected.
    """
    return kind(
        **{f.name: _read(node, f.name, f.default, f.metadata["param"]) for f in fields(kind)}
    )


def follow_params(
    node: Node,
    kind: type[P],
    *,
    configured: Callable[[], bool] = lambda: True,
    refuse: Callable[[P], str | None] = lambda params: None,
    on_change: Callable[[P], None] | None = None,
) -> P:
    """As read_params; from now on every change is accepted and applied, or refused with a reason.

    configured: whether CONFIGURE parameters are in use. refuse: why values that are fine each do
    not belong together, or None. on_change: is given the new values after a change that was
    accepted; several set at once change together or not at all.
    """
    params = read_params(node, kind)
    specs = specs_of(kind)
    defaults = {f.name: f.default for f in fields(kind)}

    def judge(changes: Sequence[Parameter]) -> SetParametersResult:
        own = [
            change for change in changes if change.name in specs
        ]  # not rclpy's, as use_sim_time
        try:
            values = {name: node.get_parameter(name).value for name in specs}
            for change in own:
                name, spec = change.name, specs[change.name]
                value = _check(node.get_name(), name, change.value, defaults[name], spec)
                if spec.changes == CONFIGURE and configured() and value != values[name]:
                    raise ValueError(_in_use(node, name))
                values[name] = value
            reason = refuse(kind(**values)) if own else None
        except ValueError as error:
            reason = str(error)
        return SetParametersResult(successful=reason is None, reason=reason or "")

    def apply(changes: Sequence[Parameter]) -> None:
        if on_change is not None and any(change.name in specs for change in changes):
            on_change(read_params(node, kind))

    node.add_on_set_parameters_callback(judge)
    node.add_post_set_parameters_callback(apply)
    _refuse_with_advice(node, specs)
    return params


def acts_at_once(descriptor: ParameterDescriptor) -> bool:
    """Whether a parameter with this descriptor, of a node of this package, may change while the node works."""
    return WHEN[LIVE] in descriptor.additional_constraints.split("; ")


def choices_of(descriptor: ParameterDescriptor) -> tuple[str, ...]:
    """The values that such a descriptor allows; empty where it names none."""
    for constraint in descriptor.additional_constraints.split("; "):
        if constraint.startswith(ONE_OF):
            return tuple(constraint.removeprefix(ONE_OF).split(", "))
    return ()


def _refuse_with_advice(node: Node, specs: dict[str, ParamSpec]) -> None:
    """Reasons that lead on, where rclpy refuses before its callbacks: read-only and unknown names."""
    set_all = node.set_parameters_atomically

    def advised(changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            reason = None
            if not node.has_parameter(change.name):
                reason = _unknown(node, change.name, specs)
            elif change.name in specs and specs[change.name].changes == START:
                reason = (
                    f"parameter '{change.name}' of {node.get_name()} is read when the node starts:"
                    f" start it with -p {change.name}:=VALUE, or with the launch argument"
                )
            if reason is not None:
                return SetParametersResult(successful=False, reason=reason)
        return set_all(changes)

    # The parameter services call this method of the node, and no callback comes before the check.
    node.set_parameters_atomically = advised


def _unknown(node: Node, name: str, specs: dict[str, ParamSpec]) -> str:
    near = difflib.get_close_matches(name, specs, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(specs)}"
    return f"{node.get_name()} has no parameter '{name}'; {hint}"


def _in_use(node: Node, name: str) -> str:
    full = node.get_fully_qualified_name()
    return (
        f"parameter '{name}' of {node.get_name()} is read when the node is configured, and it is:"
        f" set it at the start, or first `ros2 lifecycle set {full} deactivate` and `cleanup`,"
        " then set it, `configure` and `activate`"
    )


def _read(node: Node, name: str, default: ParamValue, spec: ParamSpec) -> ParamValue:
    if not node.has_parameter(name):
        try:
            node.declare_parameter(name, default, _descriptor(default, spec))
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ValueError(f"parameter '{name}' of {node.get_name()}: {error}") from error
    return _check(node.get_name(), name, node.get_parameter(name).value, default, spec)


def _check(owner: str, name: str, value: Any, default: ParamValue, spec: ParamSpec) -> ParamValue:
    where = f"parameter '{name}' of {owner}"
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        raise ValueError(f"{where}: got {value!r}, expected a {type(default).__name__}")
    if spec.choices and value not in spec.choices:
        raise ValueError(f"{where}: got {value!r}, expected one of {', '.join(spec.choices)}")
    low = -math.inf if spec.low is None else spec.low
    high = math.inf if spec.high is None else spec.high
    if type(value) in (int, float) and not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{where}: got {value}, expected {low:g} to {high:g}")
    return value


def _descriptor(default: ParamValue, spec: ParamSpec) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=spec.description, read_only=spec.changes == START)
    choices = (f"{ONE_OF}{', '.join(spec.choices)}",) if spec.choices else ()
    descriptor.additional_constraints = "; ".join((*choices, WHEN[spec.changes]))
    if isinstance(default, float):
        # "rate: 2" in a YAML file is an integer; the range is checked in _check, which sees both.
        descriptor.dynamic_typing = True
    if spec.low is None or spec.high is None or isinstance(default, (bool, str)):
        return descriptor
    if isinstance(default, int):
        descriptor.integer_range = [
            IntegerRange(from_value=int(spec.low), to_value=int(spec.high))
        ]
    else:
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=spec.low, to_value=spec.high)
        ]
    return descriptor
