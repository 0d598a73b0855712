"""SROS2 security policy of a robot's graph: an enclave for each node that allows exactly its endpoints.

Format: the policy file of `ros2 security` (sros2, policy schema 0.2.0). Nothing here imports ROS.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from vla_policy.embodiment import Embodiment
from vla_policy.ros.bringup.endpoints import (
    BUTTONS,
    CALLS,
    CONTROLLED,
    EVENT,
    HEARS,
    OUTCOME,
    PUBLISHES,
    SERVES,
    SET_BOOL,
    STATUS,
    STRING,
    TRIGGER,
    Endpoint,
    device_topics,
    endpoints,
)
from vla_policy.ros.bringup.graph import OPERATOR, NodeSpec, enclave_of
from vla_policy.teleop.device_file import load_device

LIFECYCLE = ("policy", "control", "task", "recorder")
REPORTS = ("policy", "control", "task", "recorder", "mock", "teleop", "web")  # on /diagnostics
# kind of element in the policy, attribute for each direction
TOPICS, SERVICES, ACTIONS = "topics", "services", "actions"
ATTRIBUTE = {
    (TOPICS, PUBLISHES): "publish",
    (TOPICS, HEARS): "subscribe",
    (SERVICES, SERVES): "reply",
    (SERVICES, CALLS): "request",
    (ACTIONS, SERVES): "execute",
    (ACTIONS, CALLS): "call",
}
SET_ALL = "set_parameters_atomically"
PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameters",
    "get_parameter_types",
    "list_parameters",
    "set_parameters",
    SET_ALL,
    "get_type_description",
)
LIFECYCLE_SERVICES = (
    "change_state",
    "get_state",
    "get_available_states",
    "get_available_transitions",
    "get_transition_graph",
)


def security_policy(specs: tuple[NodeSpec, ...], robot: Embodiment) -> str:
    """The policy file, XML, for the nodes of specs and for an operator's terminal."""
    policy = Element("policy", version="0.2.0")
    enclaves = SubElement(policy, "enclaves")
    ends = endpoints(specs, robot)
    for spec in specs:
        own = [*(end for end in ends if end.node == spec.name), *_standard(spec)]
        _enclave(enclaves, spec.namespace, spec.name, own)
    space = specs[0].namespace if specs else ""
    operator = [*operator_endpoints(), *_keys(specs), *_standard(NodeSpec(OPERATOR))]
    _enclave(enclaves, space, OPERATOR, operator)
    ElementTree.indent(policy)
    return ElementTree.tostring(policy, encoding="unicode", xml_declaration=True) + "\n"


def operator_endpoints() -> tuple[Endpoint, ...]:
    """What `vla say`, `vla stop` and an operator's terminal need: instructions, the control node's services, reports."""
    kinds = {"engage": SET_BOOL, **dict.fromkeys(("stop", "reset", *BUTTONS), TRIGGER)}
    return (
        Endpoint(OPERATOR, PUBLISHES, "instruction", STRING),
        Endpoint(OPERATOR, HEARS, "control_status", STATUS),
        Endpoint(OPERATOR, HEARS, "instruction_outcome", OUTCOME),
        Endpoint(OPERATOR, HEARS, "sim_event", EVENT),
        Endpoint(
            OPERATOR, CALLS, "execute_instruction", "vla_policy/action/ExecuteInstruction"
        ),
        *(Endpoint(OPERATOR, CALLS, f"control/{name}", kind) for name, kind in kinds.items()),
    )  # fmt: skip


def _keys(specs: tuple[NodeSpec, ...]) -> list[Endpoint]:
    """The keys of a terminal, as `vla teleop keyboard` publishes them, where the graph has that device."""
    devices = [load_device(str(s.parameters["device"])) for s in specs if s.name == "teleop"]
    return [
        Endpoint(OPERATOR, PUBLISHES, topic, kind)
        for device in devices
        if device.kind == "keyboard"
        for topic, kind in device_topics(device)
    ]


def _standard(spec: NodeSpec) -> list[Endpoint]:
    """What every node of this kind has besides its work."""
    name = spec.name
    own = [
        Endpoint(name, PUBLISHES, "/rosout", "rcl_interfaces/msg/Log"),
        Endpoint(name, PUBLISHES, "/parameter_events", "rcl_interfaces/msg/ParameterEvent"),
        *(Endpoint(name, SERVES, f"{name}/{s}", "rcl_interfaces/srv/_") for s in PARAMETER_SERVICES),
    ]  # fmt: skip
    if spec.parameters.get("use_sim_time", False):
        own.append(Endpoint(name, HEARS, "/clock", "rosgraph_msgs/msg/Clock"))
    if name in REPORTS:
        own.append(Endpoint(name, PUBLISHES, "/diagnostics", "diagnostic_msgs/msg/_"))
    if name in LIFECYCLE:
        own.append(Endpoint(name, PUBLISHES, f"{name}/transition_event", "lifecycle_msgs/msg/_"))
        own += [
            Endpoint(name, SERVES, f"{name}/{s}", "lifecycle_msgs/srv/_")
            for s in LIFECYCLE_SERVICES
        ]
    return [*own, *_controls()] if name == "web" else own


def _controls() -> list[Endpoint]:
    """The parameters of other nodes that the operator's page reads and sets."""
    services = ("list_parameters", "describe_parameters", "get_parameters", SET_ALL)
    pairs = [(node, service) for node in CONTROLLED for service in services]
    return [
        Endpoint("web", HEARS, "/parameter_events", "rcl_interfaces/msg/ParameterEvent"),
        *(
            Endpoint("web", CALLS, f"{node}/{service}", "rcl_interfaces/srv/_")
            for node, service in (*pairs, ("recorder", SET_ALL))
        ),
    ]


def _enclave(enclaves: Element, namespace: str, node: str, ends: Iterable[Endpoint]) -> None:
    enclave = SubElement(enclaves, "enclave", path=enclave_of(namespace, node))
    profiles = SubElement(enclave, "profiles")
    profile = SubElement(profiles, "profile", ns=namespace or "/", node=node)
    ends = list(ends)
    for (group, does), attribute in ATTRIBUTE.items():
        names = {
            end.name if end.name.startswith("/") else f"{namespace}/{end.name}"
            for end in ends
            if end.does == does and _group(end) == group
        }
        if names:
            element = SubElement(profile, group, {attribute: "ALLOW"})
            for name in sorted(names):
                SubElement(element, group[:-1]).text = name


def _group(end: Endpoint) -> str:
    return {"msg": TOPICS, "srv": SERVICES, "action": ACTIONS}[end.type.split("/")[1]]
