"""Live settings on the operator's page: the nodes' live parameters and the policy's adapter.

Names, ranges and choices come only from the nodes' own descriptors, and a change counts as made
once the node has confirmed it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent, ParameterType
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParametersAtomically,
)
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import qos_profile_parameter_events

from vla_policy.ros.bringup.endpoints import CONTROLLED
from vla_policy.ros.nodes.policy_params import named_adapters
from vla_policy.ros.nodes.web_calls import called
from vla_policy.ros.process.params import acts_at_once, choices_of
from vla_policy.srv import SetAdapter
from vla_policy.web.panel import Answer, Deed, Panel

SERVICES = {
    "list_parameters": ListParameters,
    "describe_parameters": DescribeParameters,
    "get_parameters": GetParameters,
    "set_parameters_atomically": SetParametersAtomically,
}
ADAPTERS = "adapters"  # parameter of the policy node: adapters in memory
ADAPTER_S = 30.0
KINDS = {
    ParameterType.PARAMETER_BOOL: "bool",
    ParameterType.PARAMETER_INTEGER: "int",
    ParameterType.PARAMETER_DOUBLE: "float",
    ParameterType.PARAMETER_STRING: "text",
}


class Controls:
    """Sets `controls` and `adapters` of the panel; call look() about once a second."""

    def __init__(self, node: Node, panel: Panel) -> None:
        self._node, self._panel = node, panel
        self._clients = {
            name: {s: node.create_client(kind, f"{name}/{s}") for s, kind in SERVICES.items()}
            for name in CONTROLLED
        }
        self._adapter = node.create_client(SetAdapter, "policy/set_adapter")
        self._full = {node.resolve_service_name(name): name for name in CONTROLLED}
        self._known: dict[str, dict[str, dict[str, Any]]] = {}
        self._asked: set[str] = set()
        node.create_subscription(
            ParameterEvent, "/parameter_events", self._on_event, qos_profile_parameter_events
        )

    def deeds(self) -> dict[str, Deed]:
        """Requests for the page's server."""
        return {"set": Deed(self.set), "adapter": Deed(self.adapter, limit_s=ADAPTER_S)}

    def look(self) -> None:
        """Request the parameters of new nodes; forget those of nodes that have ended."""
        for name, clients in self._clients.items():
            there = all(client.service_is_ready() for client in clients.values())
            if there and name not in self._known and name not in self._asked:
                self._asked.add(name)
                self._call(name, "list_parameters", ListParameters.Request(), self._on_list)
            elif not there:
                self._asked.discard(name)
                if self._known.pop(name, None) is not None:
                    self._tell()

    def set(self, details: Mapping[str, Any]) -> Future[Answer]:
        """Set one parameter. details: node, name, value."""
        node, name, value = (details.get(key) for key in ("node", "name", "value"))
        known = self._known.get(node) if isinstance(node, str) else None
        entry = known.get(name) if known is not None and isinstance(name, str) else None
        if entry is None:
            raise ValueError(
                f"got the parameter {str(name)[:40]!r} of {str(node)[:40]!r}, expected one that acts at once of "
                f"{' or '.join(self._known) or 'a node that is there; none is'}"
            )
        msg = Parameter(str(name), value=_typed(entry, value)).to_parameter_msg()
        request = SetParametersAtomically.Request(parameters=[msg])
        client = self._clients[str(node)]["set_parameters_atomically"]

        def told(response: SetParametersAtomically.Response) -> Answer:
            done = response.result.successful
            return Answer(done, response.result.reason or f"{name} is {json.dumps(value)}")

        return called(client, request, told)

    def adapter(self, details: Mapping[str, Any]) -> Future[Answer]:
        """Exchange the policy's adapter. details: name, one in the policy's memory, or ''."""
        name, names = details.get("name"), self._adapters()
        if name not in names:
            raise ValueError(f"got the adapter {str(name)[:40]!r}, expected one of {names}")

        def told(response: SetAdapter.Response) -> Answer:
            in_place = f"the next chunk is by {response.in_place or 'the base alone'}"
            return Answer(response.success, response.message or in_place)

        return called(self._adapter, SetAdapter.Request(adapter=name), told)

    def _adapters(self) -> list[str]:
        text = self._known.get("policy", {}).get(ADAPTERS, {}).get("value", "")
        try:
            named = named_adapters(text)
        except ValueError:
            return []  # the policy node reports the fault
        return ["", *named] if named else []

    def _call(self, name: str, service: str, request: Any, then: Any) -> None:
        future = self._clients[name][service].call_async(request)
        future.add_done_callback(lambda done: then(name, done.result()))

    def _on_list(self, name: str, response: ListParameters.Response) -> None:
        names = list(response.result.names)
        request = DescribeParameters.Request(names=names)
        self._call(name, "describe_parameters", request, self._on_described)

    def _on_described(self, name: str, response: DescribeParameters.Response) -> None:
        found = {
            d.name: _entry(d)
            for d in response.descriptors
            if (acts_at_once(d) and d.type in KINDS) or (name, d.name) == ("policy", ADAPTERS)
        }
        request = GetParameters.Request(names=list(found))
        self._call(name, "get_parameters", request, partial(self._on_values, found))

    def _on_values(
        self, found: dict[str, dict[str, Any]], name: str, response: GetParameters.Response
    ) -> None:
        for entry, value in zip(found.values(), response.values, strict=True):
            entry["value"] = parameter_value_to_python(value)
        self._asked.discard(name)
        self._known[name] = found
        self._tell()

    def _on_event(self, event: ParameterEvent) -> None:
        known = self._known.get(self._full.get(event.node, ""), {})
        msgs: list[ParameterMsg] = [*event.new_parameters, *event.changed_parameters]
        changed = [msg for msg in msgs if msg.name in known]
        for msg in changed:
            known[msg.name]["value"] = parameter_value_to_python(msg.value)
        if changed:
            self._tell()

    def _tell(self) -> None:
        controls = [
            {"node": node, **entry}
            for node in CONTROLLED
            for name, entry in self._known.get(node, {}).items()
            if name != ADAPTERS
        ]
        self._panel.tell(controls=controls, adapters=self._adapters())


def _entry(descriptor: ParameterDescriptor) -> dict[str, Any]:
    """As JSON values for the page, without the value."""
    ranges = (*descriptor.integer_range, *descriptor.floating_point_range)
    return {
        "name": descriptor.name,
        "kind": KINDS[descriptor.type],
        "says": descriptor.description,
        "choices": list(choices_of(descriptor)),
        "low": ranges[0].from_value if ranges else None,
        "high": ranges[0].to_value if ranges else None,
    }


def _typed(entry: Mapping[str, Any], value: Any) -> bool | int | float | str:
    """value as the parameter's type. Raises ValueError for another; the node checks the range."""
    kind = entry["kind"]
    wanted: Any = {"bool": bool, "int": int, "float": (int, float), "text": str}[kind]
    if not isinstance(value, wanted) or (kind != "bool" and isinstance(value, bool)):
        raise ValueError(f"{entry['name']}: got {value!r}, expected a {kind}")
    if kind == "float":
        if not math.isfinite(value):
            raise ValueError(f"{entry['name']}: got {value!r}, expected a finite number")
        return float(value)
    if kind == "int" and not -(2**63) <= value < 2**63:
        raise ValueError(f"{entry['name']}: got {value!r}, expected a whole number of 64 bits")
    found: bool | int | float | str = value
    return found
