"""Which control nodes a node has discovered, of whatever namespace."""

from __future__ import annotations

from rclpy.node import Node

SERVICES = ("stop", "engage", "reset")


def control_nodes(node: Node) -> set[str]:
    """Full names of the control nodes in node's domain: they serve all of SERVICES."""
    names = {name for name, _ in node.get_service_names_and_types()}
    bases = (name.removesuffix("/stop") for name in names if name.endswith("/stop"))
    return {base for base in bases if all(f"{base}/{s}" in names for s in SERVICES)}
