"""Names of entries on /diagnostics, which all robots of a domain share."""

from __future__ import annotations

from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

GUARD_ENTRY = "control: guard"


def diagnostic_name(node: Node, name: str) -> str:
    """name as it is in node's namespace: 'control: guard' of the robot in /a is 'a/control: guard'."""
    space = node.get_namespace().strip("/")
    return f"{space}/{name}" if space else name


def identified(node: Node, report: DiagnosticArray, embodiment: str) -> DiagnosticArray:
    """report with names and hardware ids that distinguish robots; changes it in place.

    embodiment: of the robot, by name or path; its hardware id is that name in node's namespace.
    """
    robot = Path(embodiment).stem if embodiment else node.get_name()
    for status in report.status:
        status.name = diagnostic_name(node, status.name)
        status.hardware_id = diagnostic_name(node, robot)
    return report
