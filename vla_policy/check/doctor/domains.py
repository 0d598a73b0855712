"""ROS domains: the valid ones and the user's choice; used by the doctor, nodes and verbs."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping

DOMAIN_ID = "ROS_DOMAIN_ID"
DISCOVERY_RANGE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
LOCALHOST_ONLY = "ROS_LOCALHOST_ONLY"  # older; overrides the range
LAST_DOMAIN = 232  # RTPS 9.6.1: its ports are the last below 65536
LAST_CLEAR = 101  # above it a domain's ports overlap Linux's range of ephemeral ports


def chosen_domain(environ: Mapping[str, str] = os.environ) -> int | None:
    """ROS_DOMAIN_ID; None if not set. Raises ValueError if it is no domain."""
    text = environ.get(DOMAIN_ID, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= LAST_DOMAIN):
        raise ValueError(f"{DOMAIN_ID}: got {text!r}, expected a number from 0 to {LAST_DOMAIN}")
    return int(text)


def discovery_range(environ: Mapping[str, str] = os.environ) -> str:
    """Which machines exchange messages; "" if not set."""
    return environ.get(DISCOVERY_RANGE, "")


def keep_to_loopback(environ: MutableMapping[str, str] = os.environ) -> None:
    """Limit this process and its children to this machine, unless the user has set another range."""
    if LOCALHOST_ONLY not in environ:
        environ.setdefault(DISCOVERY_RANGE, "LOCALHOST")


def domain_in_use(environ: Mapping[str, str] = os.environ) -> int:
    """The domain of a process in this environment: the chosen one, or 0."""
    return chosen_domain(environ) or 0
