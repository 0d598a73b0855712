"""Node parameters as a frozen dataclass: one declaration gives default, description and range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

P = TypeVar("P")
ParamValue = bool | int | float | str


@dataclass(frozen=True, slots=True)
class ParamSpec:
    """What is known of one parameter besides its default."""

    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]


def param(
    default: ParamValue,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that read_params declares as a ROS parameter.

    low, high: inclusive range of a number, its unit is in the name or description.
    """
    return field(default=default, metadata={"param": ParamSpec(description, low, high, choices)})


def read_params(node: Node, kind: type[P]) -> P:
    """Declare what is not declared yet, read all fields of the dataclass kind, check each.

    Numbers for a float parameter may be written as integers. To be called again on each configure.
    Raises ValueError with the parameter's name, the value got and what was expected.
    """
    return kind(
        **{f.name: _read(node, f.name, f.default, f.metadata["param"]) for f in fields(kind)}
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
    descriptor = ParameterDescriptor(description=spec.description)
    if spec.choices:
        descriptor.additional_constraints = f"one of {', '.join(spec.choices)}"
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
