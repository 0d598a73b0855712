"""What an SROS2 policy allows a node, and what the running node has, to be compared."""

from functools import partial
from xml.etree import ElementTree

from rclpy.action import graph as actions
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import NodeNameNonExistentError


def allowed(policy: str, path: str) -> set[tuple[str, str]]:
    """{(attribute, full name)} of the enclave at path in the policy's XML."""
    (own,) = (e for e in ElementTree.fromstring(policy).iter("enclave") if e.get("path") == path)
    return {
        (attribute, entry.text)
        for group in own.iter()
        for attribute, value in group.attrib.items()
        if value == "ALLOW"
        for entry in group
    }


def running(asker, name: str, namespace: str = "/") -> set[tuple[str, str]]:
    """The same of a running node; empty while it is not known. An action allows its own topics and services."""
    found = {
        ("publish", asker.get_publisher_names_and_types_by_node),
        ("subscribe", asker.get_subscriber_names_and_types_by_node),
        ("reply", asker.get_service_names_and_types_by_node),
        ("request", asker.get_client_names_and_types_by_node),
        ("execute", partial(actions.get_action_server_names_and_types_by_node, asker)),
        ("call", partial(actions.get_action_client_names_and_types_by_node, asker)),
    }
    try:
        return {
            (attribute, topic)
            for attribute, of_node in found
            for topic, _ in of_node(name, namespace)
            if "/_action/" not in topic
        }
    except (NodeNameNonExistentError, rclpy_implementation.RCLError):
        return set()  # of actions asked before it is known, the latter
